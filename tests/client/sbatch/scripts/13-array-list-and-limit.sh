#!/bin/bash
#SBATCH --array=1,3,5-9:2%2
#SBATCH --output=out/%A_%a.txt
#SBATCH --time=5
python sweep.py --seed "$SLURM_ARRAY_TASK_ID"
