"""
What Qianfan says, and how it is spoken to. Imports nothing above it, and no Airflow.

Never opens a socket, and never decides what an answer means for a wait.
"""
