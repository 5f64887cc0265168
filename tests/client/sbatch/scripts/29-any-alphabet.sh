#!/bin/bash
#SBATCH --job-name=обучение-模型
#SBATCH --output=результат-%j.txt
#SBATCH --comment="größer für später ✓"
./run
