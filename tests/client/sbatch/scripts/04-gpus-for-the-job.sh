#!/bin/bash
#SBATCH --gpus=a100:8 --ntasks=8
#SBATCH --mem-per-gpu=60G
#SBATCH --time=90
torchrun --nproc-per-node 8 finetune.py
