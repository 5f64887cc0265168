#!/bin/bash
#SBATCH --time=10 --account=from-script --partition=from-script --job-name=from-script
python run.py "$@"
