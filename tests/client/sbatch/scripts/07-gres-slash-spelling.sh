#!/bin/bash
#SBATCH --gres gres/gpu:2
#SBATCH --time=1-0:30
./run
