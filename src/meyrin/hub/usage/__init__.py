"""Measured usage of attempts, each record counted once."""
