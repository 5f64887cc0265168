"""The shared service: rooms by capability over one SQL database."""
