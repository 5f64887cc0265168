#!/bin/bash
#SBATCH --hold=yes
./run
