#!/bin/bash
#SBATCH --ntasks=2
./run
