#!/usr/bin/env python3
#SBATCH --time=00:00:30
#SBATCH --mem=1T
import os
print(os.environ["SLURM_JOB_ID"])
