#!/bin/bash
#SBATCH --job-name
#SBATCH two-lines
#SBATCH --nodes=1k
./run
