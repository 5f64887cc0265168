#!/bin/bash
#SBATCH --gres=gpu:1,lscratch:100
./run
