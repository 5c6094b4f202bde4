"""
What DAG authors list, create, cancel and deploy with. Imports ``sensors`` and below.

Never waits by itself: the sensor of what it has begun does.
"""
