#!/bin/bash
#SBATCH --time=5 gpu --nodes=2
./run
