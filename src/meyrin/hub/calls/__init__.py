"""Allocations: what a project was granted, by which rule, from when to when."""
