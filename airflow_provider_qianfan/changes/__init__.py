"""
What changes the platform: create once, update once, cancel. Imports ``api`` and ``gate``, and no Airflow.

Never sends a request that changes something without a look and a note before it.
"""
