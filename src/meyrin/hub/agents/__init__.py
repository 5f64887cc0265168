"""What agents at sites lease, and what they report."""
