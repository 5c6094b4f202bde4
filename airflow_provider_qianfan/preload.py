"""
Load once what each look needs. Import this module in ``airflow_local_settings.py``.

Airflow forks a process for each run of a task. What such a process loads, it loads each time: the modules of
a look, and the CA bundle. What Airflow has loaded before, all of these processes share. If the bundle of a
setting is replaced, the next look loads it again. After an upgrade of certifi, restart Airflow.
"""

from __future__ import annotations

import encodings.idna
import encodings.utf_8_sig  # noqa: F401  for the host and the answer
import os
from contextlib import suppress

import airflow_provider_qianfan.gate.look
import airflow_provider_qianfan.hooks._driver
import airflow_provider_qianfan.hooks.qianfan
import airflow_provider_qianfan.sensors.model_compression  # noqa: F401
from airflow_provider_qianfan.api.errors import QianfanConfigurationError
from airflow_provider_qianfan.hooks._route import bundle_of
from airflow_provider_qianfan.hooks._sockets import tls_context

with suppress(QianfanConfigurationError):  # a look will say what is wrong
    tls_context(bundle := bundle_of(os.environ), bundle.state)
