#!/bin/bash
#SBATCH --mail-type=BEGIN,END
#SBATCH --mail-user=ada@example.org
./run
