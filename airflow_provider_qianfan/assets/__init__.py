"""Assets: what started a DAG, and what a task updates. Imports ``api`` and below."""
