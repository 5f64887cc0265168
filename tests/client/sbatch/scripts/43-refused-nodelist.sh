#!/bin/bash

#SBATCH -N 2
#SBATCH -w node[01-02]
./run
