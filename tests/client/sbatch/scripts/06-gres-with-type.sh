#!/bin/bash
#SBATCH --gres=gpu:v100:4
#SBATCH --nodes=2-4
#SBATCH --time=0-06
srun ./md
