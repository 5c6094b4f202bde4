"""
What changes the platform: create once, update once, cancel. Imports ``api`` and ``gate``, and no Airflow.

Never sends a change without a look before it, and never creates or updates without a note before it.
"""
