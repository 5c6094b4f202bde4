"""
Gates: what DAG authors wait with. Imports ``triggers`` and below, most of it only when a task runs.

Never opens on an event: a sensor looks for itself.
"""
