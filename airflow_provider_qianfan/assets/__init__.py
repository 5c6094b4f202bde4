"""
Qianfan's models and services as Airflow's assets and OpenLineage's datasets, and what started a DAG run.

Imports ``gate`` and below. Airflow loads this package with the first asset of any DAG. So this package loads
Airflow and OpenLineage only when it makes something of theirs.
"""
