from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.get_provider_info import get_provider_info
from airflow_provider_qianfan.links import DEFAULT_URL_TEMPLATE, SERVICES_URL, QianfanConsoleLink
from airflow_provider_qianfan.operators.model_compression import QianfanListModelCompTasksOperator
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.dag_runs import AIRFLOW_3
from tests.test_reasons import OPERATORS, SENSORS

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import DagRunner

TEMPLATE = "https://console.example.com/?model={source_model_id}&task={model_comp_task_id}"


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda text: monkeypatch.setenv("AIRFLOW__QIANFAN__CONSOLE_URL_TEMPLATE", text)


def link(**arguments: Any) -> str:
    return QianfanConsoleLink().get_link(QianfanModelCompTaskSensor(task_id="gate", **arguments), ti_key=None)


def test_the_default_is_the_same_in_both_places() -> None:
    info: Any = get_provider_info()

    assert info["config"]["qianfan"]["options"]["console_url_template"]["default"] == DEFAULT_URL_TEMPLATE
    assert link(source_model_id="amv-1") == DEFAULT_URL_TEMPLATE


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ({"source_model_id": "amv-1"}, "model=amv-1&task="),
        ({"source_model_id": "amv-1", "model_comp_task_id": "amva-2"}, "model=amv-1&task=amva-2"),
        ({"source_model_id": "a&b/c?d #é"}, "model=a%26b%2Fc%3Fd%20%23%C3%A9&task="),
        ({"model_comp_task_id": "{{ not_rendered }}"}, "model=&task="),
    ],
)
def test_values_are_escaped(template: Any, arguments: dict[str, Any], query: str) -> None:
    template(TEMPLATE)

    assert link(**arguments) == f"https://console.example.com/?{query}"


def test_an_operator_without_a_task_id_has_the_link_too(template: Any) -> None:
    template(TEMPLATE)
    operator = QianfanListModelCompTasksOperator(task_id="list", source_model_id="amv-1")

    assert QianfanConsoleLink().get_link(operator, ti_key=None).endswith("?model=amv-1&task=")


@pytest.mark.parametrize("name", [*SENSORS, *OPERATORS])
def test_each_class_has_the_link(name: str) -> None:
    made, arguments = (SENSORS | OPERATORS)[name]
    task = made(task_id="task", **arguments)
    (found,) = task.operator_extra_links

    assert found.get_link(task, ti_key=None) == (SERVICES_URL if "service" in name else DEFAULT_URL_TEMPLATE)


@pytest.mark.parametrize(
    "wrong", ["", "console", "javascript:alert(1)", "https://h/{model}", "https://h/{", "https://h/{0}"]
)
def test_a_template_that_cannot_be_meant(template: Any, wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    """On Airflow 3.0 an error would end the process of the task, whatever has become of it."""
    template(wrong)

    assert link(source_model_id="amv-1") == DEFAULT_URL_TEMPLATE
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert re.search(r"\[qianfan\] console_url_template=.*source_model_id", record.getMessage())


if AIRFLOW_3:

    def test_a_run_has_the_link_of_what_was_rendered(
        emulator: EmulatorServer, dag_runner: DagRunner, template: Any
    ) -> None:
        template(TEMPLATE)
        emulator.world.tasks.add(TaskSpec("amv-7", status="succeeded", model_id="amv-made"))

        outcome = dag_runner.run(
            lambda: QianfanModelCompTaskSensor(task_id="gate", source_model_id="amv-{{ 3 + 4 }}")
        )["gate"]

        assert outcome.xcoms["_link_QianfanConsoleLink"] == "https://console.example.com/?model=amv-7&task="

else:

    def test_the_webserver_has_the_link_of_what_was_written(airflow_db: None, template: Any) -> None:
        """It knows the serialized DAG only, whose templates nobody renders."""
        from airflow.providers.common.compat.sdk import DAG
        from airflow.serialization.serialized_objects import SerializedDAG

        template(TEMPLATE)
        with DAG("linked", schedule=None) as dag:
            QianfanModelCompTaskSensor(task_id="gate", source_model_id="amv-7", name="{{ 8 }}")
        gate = SerializedDAG.from_dict(SerializedDAG.to_dict(dag)).get_task("gate")

        link = gate.get_extra_links(SimpleNamespace(key=None), "Qianfan console")

        assert link == "https://console.example.com/?model=amv-7&task="
