"""The values that operators keep from try to try."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_qianfan.operators import model_compression, service
from tests.dag_runs import AIRFLOW


class Store(dict[str, Any]):
    """Airflow 3.3's task state store."""

    set = dict.__setitem__

    def delete(self, key: str) -> None:
        self.pop(key, None)  # what is not there is no error


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep something over tries, also in an Airflow that keeps nothing."""
    if AIRFLOW < (3, 3):
        kept = Store()
        for module in (model_compression, service):
            monkeypatch.setattr(module, "task_store", lambda context: kept)


@pytest.fixture
def no_store(store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep nothing over tries, as Airflow before 3.3."""
    for module in (model_compression, service):
        monkeypatch.setattr(module, "task_store", lambda context: None)
