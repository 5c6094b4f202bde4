"""
Operators to list, create, cancel and deploy. Imports ``sensors`` and below.

A sensor waits for a compression or a service; an operator does not. Only the cancelling operator waits, in
the worker.
"""
