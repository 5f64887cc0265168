#!/bin/bash
#SBATCH -a 0-9999%500
#SBATCH --mem=512M
./one "$SLURM_ARRAY_TASK_ID"
