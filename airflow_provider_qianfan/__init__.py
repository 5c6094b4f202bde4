"""Gate Airflow deployments on Baidu AI Cloud Qianfan (千帆) model compression tasks."""

__version__ = "0.1.0"
