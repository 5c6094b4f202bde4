"""The gate's decision: which task is meant, and what it means for the wait. Nothing in here does I/O."""
