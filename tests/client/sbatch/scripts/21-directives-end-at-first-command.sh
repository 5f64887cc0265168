#!/bin/bash
# a comment, then an empty line

#SBATCH --ntasks=2
##SBATCH --ntasks=99
# SBATCH --ntasks=98
  #SBATCH --ntasks=97
   
#SBATCH -t 15
set -eu
#SBATCH --ntasks=96
#SBATCH --qos=late
srun ./run
