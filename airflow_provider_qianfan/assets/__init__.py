"""
Models and services as assets of Airflow and datasets of OpenLineage, and the events that started a DAG run.

Imports ``gate`` and below. Airflow loads this package with the first asset of any DAG. So this package
imports Airflow and OpenLineage only when it needs them.
"""
