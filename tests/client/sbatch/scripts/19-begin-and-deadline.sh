#!/bin/bash
#SBATCH --begin=2027-01-20T12:34:00
#SBATCH --deadline=tomorrow
#SBATCH --hold
./later
