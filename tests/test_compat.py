"""``FEATURES`` is true of the installed Airflow. The matrix runs this file on every Airflow."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import Environment

from airflow_provider_qianfan import _compat
from airflow_provider_qianfan._compat import (
    FEATURES,
    BaseOperator,
    Feature,
    asset_classes,
    from_upstream,
    mask_secret,
    render_to_text,
    running,
    task_state_of,
    task_store,
)
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from tests.dag_runs import AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable

DAG = _compat._get("DAG", "airflow.sdk", "airflow.models.dag")

VERSION = ".".join(metadata.version("apache-airflow").split(".")[:2])


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_a_feature_is_there_or_not(feature: Feature) -> None:
    assert feature.is_there() is (VERSION not in feature.lacking)


def test_an_airflow_that_we_cannot_use() -> None:
    with pytest.raises(ImportError, match=r"cannot use the installed Airflow: Nothing is in none of"):
        _compat._get("Nothing", "airflow.models", "airflow.no_such_module", "no_such_package.module")


def test_assets_have_two_names() -> None:
    names = ("Asset", "AssetAlias") if AIRFLOW_3 else ("Dataset", "DatasetAlias")

    assert tuple(made.__name__ for made in asset_classes()) == names


def test_no_timeout_is_the_default_one() -> None:
    assert QianfanModelSensor(task_id="t", model_id="amv-1", timeout=None).timeout == 7 * 86400


@pytest.mark.parametrize("resume", [False, True], ids=["here", "in a new thread"])
def test_execute_may_be_called(resume: bool) -> None:
    """Airflow 2.11 keeps, for each thread, what may be called."""
    operator = Echo(task_id="t")

    def call() -> object:
        with running(operator), running(operator):
            return operator.execute({})

    with ThreadPoolExecutor() as threads:
        assert (threads.submit(call).result() if resume else call()) == "echo"


class Echo(BaseOperator):
    def execute(self, context: Any) -> str:
        return "echo"


def test_a_template_is_rendered_to_text() -> None:
    assert render_to_text(Environment(autoescape=True).from_string("{{ n }}"), {"n": 5}) == "5"  # type: ignore[typeddict-unknown-key]


def test_only_a_secret_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr(_compat, "_get", lambda *_: masked.append)

    for secret in (None, "", "hu3sh"):
        mask_secret(secret)

    assert masked == ["hu3sh"]


def test_the_store_of_a_task() -> None:
    assert task_store({"task_state_store": "s"}) == "s"  # type: ignore[typeddict-unknown-key]
    assert task_store({}) is None


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2.11 has no task SDK")
@pytest.mark.parametrize(
    ("states", "state"), [({"r": {"t": "failed"}}, "failed"), ({"r": {"t": None}}, None)]
)
def test_the_state_of_a_task(monkeypatch: pytest.MonkeyPatch, states: Any, state: str | None) -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: states)
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)

    assert asyncio.run(task_state_of(ti)) == state


# -- what upstream tasks have returned --------------------------------------------------------------------


def mapped(expand: Callable[[Any, Any], Any], given: dict[str, Any], map_index: int = 0) -> frozenset[str]:
    """Make a mapped task as Airflow does when it runs, and name what upstream tasks have returned of it."""
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        upstream = Echo(task_id="upstream").output
        task = expand(QianfanModelSensor.partial(task_id="t", poke_interval=5), upstream)
    ti: Any = SimpleNamespace(map_index=map_index)
    return from_upstream(task.unmap(given), {"ti": ti})


ID = {"model_id": "amv-1"}


@pytest.mark.parametrize(
    ("expand", "given", "returned"),
    [
        pytest.param(lambda to, up: to.expand(model_id=["amv-1"]), ID, set(), id="a literal list"),
        pytest.param(lambda to, up: to.expand(model_id=up), ID, {"model_id"}, id="an output"),
        pytest.param(lambda to, up: to.expand_kwargs([ID]), ID, set(), id="literal rows"),
        pytest.param(lambda to, up: to.expand_kwargs([up]), ID, {"model_id"}, id="an output as a row"),
        pytest.param(lambda to, up: to.expand_kwargs(up), ID, {"model_id"}, id="an output of rows"),
    ],
)
def test_what_upstream_tasks_have_returned(
    expand: Callable[[Any, Any], Any], given: dict[str, Any], returned: set[str]
) -> None:
    assert mapped(expand, given) & {"model_id", "poke_interval"} == returned


def test_nothing_is_returned_to_a_plain_task() -> None:
    assert from_upstream(QianfanModelSensor(task_id="t", model_id="amv-1"), {}) == frozenset()


def test_a_task_whose_rows_are_not_known_may_have_all_from_upstream() -> None:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator = QianfanModelSensor.partial(task_id="t").expand(model_id=["amv-1"])
    made = operator.unmap(ID)
    dag.task_dict.pop("t")

    assert "model_id" in from_upstream(made, {})
