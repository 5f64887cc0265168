#!/bin/bash
#SBATCH --mpi=pmix
./run
