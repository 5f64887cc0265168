#!/bin/bash
#SBATCH --array=0-100000
./run
