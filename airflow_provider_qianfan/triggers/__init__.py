"""
What waits in a triggerer. Waits with the same endpoint and key share requests. Imports ``hooks`` and below.

Never decides: the one event says "look again". If a user ends the task, the trigger may cancel the
compression.
"""
