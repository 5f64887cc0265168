#!/bin/bash
#SBATCH --part=gpu --cpus-per-t=4
#SBATCH --job=short --depend=afterok:9
#SBATCH --tasks-per-node 3
./run
