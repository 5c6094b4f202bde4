"""
The decision: which task is meant, and whether a wait goes on. Imports ``api``, and no Airflow.

Never opens a socket, and never changes the platform. Gets the time as a parameter, and yields requests.
"""
