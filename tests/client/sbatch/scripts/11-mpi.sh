#!/bin/bash
#SBATCH --job-name=lammps
#SBATCH --nodes=4
#SBATCH --ntasks=512
#SBATCH --ntasks-per-node=128
#SBATCH --mem-per-cpu=1900M
#SBATCH --time=12:00:00
#SBATCH --constraint=rome&hdr
#SBATCH --no-requeue

module purge
module load LAMMPS
srun lmp -in in.melt
