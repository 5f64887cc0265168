#!/bin/bash
#SBATCH --nt=4
./run
