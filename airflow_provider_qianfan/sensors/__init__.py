"""
Gates: the sensors of a DAG. Imports ``triggers`` and below, most of it only when a task runs.

Never opens on an event: a sensor looks for itself.
"""
