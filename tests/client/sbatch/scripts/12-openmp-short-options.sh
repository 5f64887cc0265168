#!/usr/bin/env bash
#SBATCH -JopenMP -n1 -c32
#SBATCH -t0:45:00
#SBATCH -pshort
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
./solver
