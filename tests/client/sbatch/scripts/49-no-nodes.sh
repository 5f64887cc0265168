#!/bin/bash
#SBATCH --nodes=0
./run
