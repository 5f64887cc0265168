#!/bin/bash
#SBATCH --gpus=8
#SBATCH --gpus-per-task=2
srun python serve.py
