#!/bin/bash
#SBATCH --mem=16GBB
./run
