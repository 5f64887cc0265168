#!/bin/bash
#SBATCH --export="SEED,MODEL_KEY,NAME='a,b',EMPTY="
./run
