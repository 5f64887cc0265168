#!/bin/bash
#SBATCH --mail-type=NONE --profile=none
#SBATCH --input=questions.txt
#SBATCH --nice
./chat
