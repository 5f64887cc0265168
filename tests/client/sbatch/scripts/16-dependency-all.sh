#!/bin/bash
#SBATCH --dependency=afterok:101:102_7,afterany:103
#SBATCH --kill-on-invalid-dep=no
python merge.py
