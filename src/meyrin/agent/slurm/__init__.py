"""Slurm at a site: jobs are handed over, followed and accounted by one of two transports.

transport   the seam: what the adapter asks of Slurm, in our own terms
command     by Slurm's commands (sbatch, squeue, sacct, scancel, scontrol, sinfo, sacctmgr)
rest        by slurmrestd
batch       the `BatchSystem` over any transport: exactly once, honest about states
script      the wrapper that runs on the node, and what it writes into the spool
"""
