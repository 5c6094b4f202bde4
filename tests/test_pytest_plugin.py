"""A user tests her own DAG."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from configparser import ConfigParser
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_qianfan import pytest_plugin
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.dag_runs import AIRFLOW_3
from tests.docs.pages import ROOT, blocks

if TYPE_CHECKING:
    from airflow_provider_qianfan.pytest_plugin import Qianfan

NEW = "from airflow.sdk import Param, dag, task"
OLD = "from airflow.decorators import dag, task; from airflow.models.param import Param"
FAILING = """
def test_that_fails(qianfan):
    from airflow_provider_qianfan.hooks.qianfan import QianfanHook

    with QianfanHook() as hook:
        hook.call("/v2/model", "DescribeThings", {})
"""


def test_the_test_of_the_page_on_a_bare_machine(tmp_path: Path) -> None:
    page = blocks(ROOT / "docs" / "howto" / "test_your_dag.md")
    test = next(block.code for block in page if block.language == "python")
    (tmp_path / "test_gate_deployment.py").write_text(test + FAILING)
    dags, real, other = tmp_path / "dags", tmp_path / "real.db", tmp_path / "other"
    for folder in (dags, other):
        folder.mkdir()
    code = (ROOT / "dags" / "gate_deployment.py").read_text(encoding="utf-8")
    (dags / "gate_deployment.py").write_text(code if AIRFLOW_3 else code.replace(NEW, OLD), encoding="utf-8")
    # What the user's Airflow is set up with: none of it may be used.
    (other / "parsed.py").write_text(f"open({str(tmp_path / 'parsed')!r}, 'w')  # airflow dag")
    keys = tmp_path / "connections.json"
    keys.write_text(json.dumps({"qianfan_default": "qianfan://real:key@http%3A%2F%2F127.0.0.1%3A9"}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
        "HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{real}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(other),
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(keys)}),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "pytest", "-p", pytest_plugin.__name__, "--strict-markers"]

    run = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )

    assert "1 failed, 1 passed" in run.stdout, run.stdout
    assert "FAILED test_gate_deployment.py::test_that_fails" in run.stdout
    shown = run.stdout.partition("Requests to the Qianfan emulator")[2].splitlines()[1]
    assert shown.startswith("/v2/model DescribeThings 400 ")
    assert not real.exists()
    assert not (tmp_path / "parsed").exists()


def test_waits_and_pauses_take_no_time(qianfan: Qianfan) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    @task
    def fail_once(ti: Any = None) -> int:
        if ti.try_number == 1:
            raise RuntimeError("once")
        return int(ti.try_number)

    hours = timedelta(hours=5)
    with DAG("hours", schedule=None, start_date=pendulum.datetime(2024, 1, 1)) as dag:
        fail_once.override(retries=1, retry_delay=hours)()
        QianfanModelCompTaskSensor.partial(
            task_id="mapped", poke_interval=hours, mode="reschedule", retries=1
        ).expand(source_model_id=["amv-one", "amv-two"])
        never = QianfanModelCompTaskSensor(
            task_id="never", source_model_id="amv-none", poke_interval=hours, deferrable=True
        )
    running = TaskStep("running")
    ends = {
        "one": TaskStep("succeeded", after=7200, model_id="amv-made"),
        "two": TaskStep("failed", after=3600),
    }
    for model, end in ends.items():
        qianfan.world.tasks.add(TaskSpec(f"amv-{model}", timeline=(running, end)))
    began = time.monotonic()

    run = qianfan.run(dag, patience=1)

    assert time.monotonic() - began < hours.total_seconds()
    assert run.state == "failed"
    assert run.states == {"fail_once": "success", "mapped": ["success", "failed"], "never": "failed"}
    assert run.xcoms["fail_once"] == {"return_value": 2}
    assert [xcoms.get("modelId") for xcoms in run.xcoms["mapped"]] == ["amv-made", None]
    assert never.poke_interval == hours.total_seconds()


def test_connections_lead_to_the_platform_of_the_scenario(qianfan: Qianfan) -> None:
    qianfan.connect("mine")
    qianfan.load({"accounts": [{"access_key_id": "AK", "secret_access_key": "SK"}]})

    for conn_id in ("mine", "qianfan_default"):
        assert QianfanHook(conn_id).list_model_comp_tasks("amv-one") == []

    assert {call.access_key_id for call in qianfan.calls("DescribeModelCompTasks")} == {"AK"}
    assert qianfan.calls() == qianfan.calls("DescribeModelCompTasks")
    assert qianfan.calls("ModifyService") == []
    with pytest.raises(ValueError, match=r"no action 'ModifyServices'.* ModifyService"):
        qianfan.calls("ModifyServices")


def test_a_file_that_does_not_make_one_dag_is_refused(qianfan: Qianfan, tmp_path: Path) -> None:
    for name, code, error in (
        ("broken.py", "import nothing_of_that_name", "nothing_of_that_name"),
        ("none.py", "", r"makes the DAGs \[\]"),
    ):
        (tmp_path / name).write_text(code)
        with pytest.raises((ValueError, pytest.fail.Exception), match=error):
            qianfan.run(tmp_path / name)


def test_airflow_goes_back_to_its_database(tmp_path: Path) -> None:
    from airflow import settings

    before = settings.SQL_ALCHEMY_CONN, str(settings.engine.url), dict(os.environ)

    with pytest_plugin._airflow(tmp_path):
        assert str(tmp_path) in settings.SQL_ALCHEMY_CONN
        assert str(tmp_path) in str(settings.engine.url)

    assert (settings.SQL_ALCHEMY_CONN, str(settings.engine.url), dict(os.environ)) == before


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    with pytest.raises(pytest.fail.Exception, match=r"pip install 'airflow-provider-qianfan\[emulator\]'"):
        pytest_plugin._check_installed()


def test_it_costs_nothing_where_nobody_uses_it() -> None:
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    assert metadata["options.entry_points"]["pytest11"].strip() == f"qianfan = {pytest_plugin.__name__}"
    code = (
        f"import sys, {pytest_plugin.__name__};"
        "heavy = {'airflow', 'starlette', 'uvicorn', 'yaml', 'requests'};"
        "print(sorted(heavy & set(sys.modules)), [m for m in sys.modules if 'qianfan.' in m])"
    )

    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert told.strip() == f"[] ['{pytest_plugin.__name__}']"
