"""
What waits in a triggerer. Waits with the same endpoint and key share requests. Imports ``hooks`` and below.

Never decides: its one event says "look again". If a user ends the task, it may cancel the compression.
"""
