"""The schema of all rooms and its history, run by Alembic."""
