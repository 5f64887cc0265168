#!/bin/bash
# Estimate pi eight times, each array task with its own seed; the mean of the eight is better.
# A number after the script's name is how many points each task throws.
#SBATCH --job-name=pi
#SBATCH --array=0-7
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=1
#SBATCH --mem=100M
#SBATCH --time=00:01:00
#SBATCH --output=pi-%A_%a.out

task=${SLURM_ARRAY_TASK_ID:?is not set: submit this script as a job array}

"${PYTHON:-python3}" - "$task" "${1:-4000000}" <<'END'
import os
import random
import sys

task, points = int(sys.argv[1]), int(sys.argv[2])
throw = random.Random(task).random
inside = 0
for _ in range(points):
    x, y = throw(), throw()
    inside += x * x + y * y < 1.0
share = inside / points
uncertainty = 4 * (share * (1 - share) / points) ** 0.5
accelerator = os.environ.get("CUDA_VISIBLE_DEVICES", "none")
print(
    f"task={task} accelerator={accelerator} points={points}"
    f" pi={4 * share:.6f} uncertainty={uncertainty:.6f}"
)
END
