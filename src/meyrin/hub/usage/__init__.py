"""Usage records, each counted once, and their settlement in the ledger."""
