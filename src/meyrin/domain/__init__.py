"""Nouns as frozen values, units, errors and the table of job states; standard library only."""
