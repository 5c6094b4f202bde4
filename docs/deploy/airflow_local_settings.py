"""
Import once what each gate needs. Put this file into the folder config/ in AIRFLOW_HOME.

Airflow forks a process for each run of a task. What the process imports, it imports each time. What Airflow
has imported before, all of these processes share.
"""

from __future__ import annotations

from contextlib import suppress

with suppress(ImportError):  # if a module of this provider is what loads Airflow
    import airflow_provider_qianfan.preload
