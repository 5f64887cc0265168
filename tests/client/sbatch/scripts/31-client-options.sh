#!/bin/bash
#SBATCH --parsable
#SBATCH --mem=0
./run
