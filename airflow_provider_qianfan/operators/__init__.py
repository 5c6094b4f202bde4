"""
What DAG authors list, create, cancel and deploy with. Imports ``sensors`` and below.

Never waits for a compression or a service by itself: a sensor does. Only cancelling waits, in the worker.
"""
