"""
What changes the platform: create once, update once, cancel. Imports ``api`` and ``gate``, and no Airflow.

Looks before every change, and leaves a note before it creates or updates.
"""
