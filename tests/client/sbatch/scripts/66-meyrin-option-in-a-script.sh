#!/bin/bash
#SBATCH --output-files=*.json
./run
