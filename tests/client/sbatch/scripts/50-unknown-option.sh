#!/bin/bash
#SBATCH --partion=gpu
./run
