#!/bin/bash
#SBATCH --job-name="night run #2" --comment='for the "paper"'   # the title
#SBATCH --output="out \"x\".log" -t 10 # --time=20
#SBATCH --chdir="/scratch/my run"
./run
