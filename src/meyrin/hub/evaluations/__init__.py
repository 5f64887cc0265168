"""Evaluations: plans of gates, evidence of runs, decisions, and what they do to tranches."""
