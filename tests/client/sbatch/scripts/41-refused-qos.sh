#!/bin/bash
#SBATCH --job-name=x
#SBATCH --qos=premium
./run
