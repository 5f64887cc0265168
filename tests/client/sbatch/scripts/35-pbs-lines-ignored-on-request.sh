#!/bin/bash
#PBS -l walltime=01:00:00
#SBATCH --ignore-pbs --time=60
./run
