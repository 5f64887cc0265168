#!/bin/bash
#SBATCH --time=10
#SBATCH --requeue
#SBATCH --gres=gpu:1
#SBATCH --time=20 --no-requeue --gres=gpu:2
./run
