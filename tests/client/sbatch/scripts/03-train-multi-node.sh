#!/bin/bash -l
#SBATCH -J llama-pretrain
#SBATCH -A eu-lang-01
#SBATCH -p boost,normal
#SBATCH -N 16
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH -c 8
#SBATCH --exclusive
#SBATCH -t 1-12:00:00
#SBATCH -o %x_%j.log
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)
trap 'touch checkpoint.please' USR1
srun python -u pretrain.py --config configs/7b.yaml &
wait
