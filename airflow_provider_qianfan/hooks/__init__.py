"""
The way to the platform: an Airflow connection, a signed session, one driver. Imports ``gate`` and below.

Never decides, and never shows a secret.
"""
