"""The append-only, double-entry ledger of accelerator-seconds."""
