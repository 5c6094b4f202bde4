"""
The decision: which task is meant, and what it means for a wait. Imports ``api``, and no Airflow.

Never performs I/O, and never changes the platform: time and answers are parameters.
"""
