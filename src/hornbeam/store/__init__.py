"""The store of a run: database, tables, ledger, locks, checkpoints, and what trainers share."""
