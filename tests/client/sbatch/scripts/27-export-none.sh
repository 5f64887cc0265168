#!/bin/bash
#SBATCH --export=NONE
./run
