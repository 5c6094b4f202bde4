"""
What Qianfan says, and how to talk to it. Imports nothing above it, and no Airflow.

Never opens a socket, and never decides what an answer means for a wait.
"""
