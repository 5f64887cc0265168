#!/bin/bash
#SBATCH --time=forever
./run
