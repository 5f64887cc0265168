#!/bin/bash
#SBATCH -t 10 --licenses=matlab:2 -n 4
./run
