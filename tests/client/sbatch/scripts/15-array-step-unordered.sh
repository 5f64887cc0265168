#!/bin/bash
#SBATCH --array=[40-60:10,0,50]
./one "$SLURM_ARRAY_TASK_ID"
