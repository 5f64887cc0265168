#!/bin/bash
# Train the digit classifier on one accelerator's share of a node.
# Submit it from this folder: train.py and digits.csv.gz are read from where the job runs.
#SBATCH --job-name=digits
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=1
#SBATCH --mem=500M
#SBATCH --time=00:05:00
#SBATCH --output=digits-%j.out

"${PYTHON:-python3}" train.py --data digits.csv.gz --out .
