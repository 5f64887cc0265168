#!/bin/bash
#SBATCH --gres=gpu:mi250x
./run
