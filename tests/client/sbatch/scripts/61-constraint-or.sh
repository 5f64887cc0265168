#!/bin/bash
#SBATCH --constraint=skylake|rome
./run
