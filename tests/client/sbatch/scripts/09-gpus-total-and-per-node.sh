#!/bin/bash
#SBATCH -G 12
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
srun python train.py
