"""
What changes the platform: create once, update once, cancel. Imports ``api`` and ``gate``.

A request that changes something leaves only after a look and a note. Nothing here opens a socket or a file.
"""
