#!/bin/bash
# Train a tiny transformer; options for train.py follow the script's name.
#SBATCH --job-name=tiny
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=00:10:00

OMP_NUM_THREADS=1 "${PYTHON:-python3}" train.py "$@"
