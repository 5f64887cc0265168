"""The SDK and what runs beside the user: sbatch scripts, transfers, log streams."""
