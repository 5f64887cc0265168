#!/bin/bash
#SBATCH --gpus=3
#SBATCH --gpus-per-node=2
./run
