#!/bin/bash
#SBATCH --signal=10
#SBATCH --clusters=all --time=1:90
./run
