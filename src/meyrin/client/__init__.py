"""The SDK: `Client` speaks the hub's HTTP API; `sbatch` reads scripts; `meyrin.submit` is short.

Importing this package loads nothing; take names from `meyrin` or from the modules.
"""
