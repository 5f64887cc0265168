#!/bin/bash
#SBATCH -n 2
./run
