"""The append-only double-entry ledger: grant, hold, settle, void, correct."""
