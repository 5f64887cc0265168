#!/bin/bash
#SBATCH --job-name=nightly --dependency=singleton
#SBATCH --begin=now+1hour
#SBATCH --nice=200
./nightly.sh
