#!/bin/bash
#SBATCH --time=5
#PBS -l nodes=4
./run
