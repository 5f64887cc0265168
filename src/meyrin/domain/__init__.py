"""Nouns as frozen values, units, the error tree and the table of job states. Standard library only."""
