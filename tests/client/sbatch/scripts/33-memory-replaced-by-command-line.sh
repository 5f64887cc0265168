#!/bin/bash
#SBATCH --ntasks=4
./run
