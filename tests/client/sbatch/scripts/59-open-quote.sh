#!/bin/bash
#SBATCH --time=5
#SBATCH --job-name="never closed
./run
