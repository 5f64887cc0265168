#!/bin/bash
#SBATCH --ntasks=1 --mem=64G
#SBATCH hetjob
#SBATCH --ntasks=16
srun --het-group=0,1 ./coupled
