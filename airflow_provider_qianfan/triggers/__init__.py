"""
What waits in a triggerer, for many waits at the price of one. Imports ``hooks`` and below.

Never decides: its one event says "look again".
"""
