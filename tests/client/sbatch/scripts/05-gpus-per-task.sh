#!/bin/bash
#SBATCH -n 6
#SBATCH --gpus-per-task=h100:2
#SBATCH --time=30:00
srun ./inference
