#!/bin/bash
#SBATCH --dependency=aftercorr:100
./run
