"""Statements and overviews; the only room that reads everyone's tables."""
