"""
The decision: which task is meant, and what it means for a wait. Imports ``api``, and no Airflow.

Never opens a socket, and never changes the platform. Gets the time as a parameter, and yields what to ask.
"""
