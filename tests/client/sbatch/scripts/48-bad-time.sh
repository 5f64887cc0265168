#!/bin/bash
#SBATCH --nodes=1
#SBATCH -t abc
./run
