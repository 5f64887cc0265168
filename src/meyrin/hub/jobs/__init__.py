"""Requests and their jobs: accepted once, followed to their end."""
