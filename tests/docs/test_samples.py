"""Every code block of the README and the documentation does what the page says."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from configparser import ConfigParser
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from airflow_provider_qianfan.api.exchange import DEFAULT_ENDPOINT, Endpoint
from airflow_provider_qianfan.emulator.__main__ import _parser
from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.scenario import load
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import (
    CreatedServices,
    CreatedTasks,
    ModelSpec,
    ServiceSpec,
    TaskSpec,
)
from airflow_provider_qianfan.emulator.steps import ServiceStep, TaskStep
from airflow_provider_qianfan.hooks._route import find_route
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.dag_runs import DAGBAG
from tests.docs.pages import ROOT, Block, all_blocks
from tests.docs.test_proxy_page import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_qianfan.pytest_plugin import Qianfan
    from tests.dag_runs import DagRunner


PYTHON = all_blocks("python")
TESTS = [block for block in PYTHON if "def test_" in block.code]


@pytest.mark.parametrize("block", [block for block in PYTHON if block not in TESTS], ids=str)
def test_python(
    block: Block,
    emulator: EmulatorServer,
    dag_runner: DagRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator.world.tasks.add(TaskSpec("amv-xxxxxxxxxxxx", status="succeeded", model_id="amv-made"))
    emulator.world.tasks.add(TaskSpec("amv-xxxxxxxxxxxx", id="amva-xxxxxxxxxxxx", created=-86400))
    quick = (TaskStep(status="creating"), TaskStep(status="succeeded", model_id="amv-made", after=0.4))
    soon = (ServiceStep(run_status="Deploying"), ServiceStep(run_status="Serving", after=0.4))
    emulator.world.scenario = replace(
        emulator.world.scenario,
        created_tasks=CreatedTasks(timeline=quick),
        created_services=CreatedServices(timeline=soon),
    )
    emulator.world.behaviour.update_seconds = 0.5
    emulator.world.models.add(ModelSpec(id="amv-xxxxxxxxxxxx"))
    emulator.world.services.add(ServiceSpec("amv-xxxxxxxxxxxx", id="svco-xxxxxxxxxxxx"))
    file = tmp_path / "sample_dag.py"
    file.write_text(block.code, encoding="utf-8")
    runpy.run_path(str(file))
    if "@dag" not in block.code:
        return

    (dag,) = import_module(DAGBAG).DagBag(tmp_path).dags.values()
    for task in dag.tasks:
        if hasattr(task, "poke_interval"):
            task.poke_interval = 0.1
    # As a run that an asset has triggered: without a logical date, there is no {{ ds }} and the like.
    dag_runner.dated = False
    outcomes = dag_runner.run_dag(dag).values()
    states = {
        each.state
        for outcome in outcomes
        for each in (outcome.values() if isinstance(outcome, dict) else [outcome])
    }
    skipped = {"skipped"} if "one_failed" in block.code else set()
    assert states == {"success"} | skipped, dag_runner.log


def test_the_callback(emulator: EmulatorServer, dag_runner: DagRunner, tmp_path: Path) -> None:
    (block,) = (block for block in all_blocks("python") if "on_failure_callback=" in block.code)
    emulator.world.tasks.add(
        TaskSpec("amv-xxxxxxxxxxxx", id="amva-failed", status="failed", failed_reason="out of memory")
    )
    file = tmp_path / "sample_dag.py"
    file.write_text(block.code, encoding="utf-8")
    (dag,) = import_module(DAGBAG).DagBag(tmp_path).dags.values()

    outcome = dag_runner.run_dag(dag)

    assert outcome["wait_for_compression"].state == "failed"
    assert "wait_for_compression failed in run" in dag_runner.log
    assert "Compression: amva-failed" in dag_runner.log
    assert "Reason: out of memory" in dag_runner.log


@pytest.mark.parametrize("text", [text for text in all_blocks("text") if text.page == "README.md"], ids=str)
def test_the_log(text: Block, dag_runner: DagRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "amv-demogood0001" if "opens" in text.code else "amv-demofail0001"
    clock = ManualClock()
    with EmulatorServer("demo", clock) as server:
        server.world.advance(3)
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", server.connection_uri)

        class Gate(QianfanModelCompTaskSensor):
            def poke(self, context: Any) -> Any:
                done = super().poke(context)
                server.world.advance(60)
                self.poke_interval = 0.1
                return done

        dag_runner.run(lambda: Gate(task_id="gate", source_model_id=source, poke_interval=30))

    for line in text.code.splitlines():
        assert line in dag_runner.log


@pytest.mark.parametrize("block", TESTS, ids=str)
def test_test(block: Block, qianfan: Qianfan, tmp_path: Path) -> None:
    file = tmp_path / "test_sample.py"
    file.write_text(block.code, encoding="utf-8")
    (test,) = (value for name, value in runpy.run_path(str(file)).items() if name.startswith("test_"))
    for mark in getattr(test, "pytestmark", []):
        qianfan.load(*mark.args)

    test(qianfan)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_scenario(block: Block) -> None:
    scenario = load(yaml.safe_load(block.code))

    assert scenario.tasks or scenario.stubs


def commands(block: Block) -> Iterator[list[str]]:
    for line in block.code.replace("\\\n", "").splitlines():
        assert line.startswith("$ "), f"{block}: {line!r} is not a command"
        yield shlex.split(line.removeprefix("$ "), comments=True)


@pytest.mark.parametrize("block", all_blocks("console"), ids=str)
def test_commands(block: Block) -> None:
    with EmulatorServer("demo") as server:
        for command, *arguments in commands(block):
            CHECKS[command](arguments, server)


def check_make(targets: list[str], _: EmulatorServer) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}: " in makefile for target in targets)


def check_pip(arguments: list[str], _: EmulatorServer) -> None:
    install, requirement = arguments
    assert install == "install"
    # The shell makes a path of it: tests/docs need not build a wheel to see that.
    wheel = r"dist/\*\.whl|\$\(echo dist/\*\.whl\)"
    package = re.fullmatch(rf"((?P<name>[a-z-]+)|{wheel})(\[(?P<extra>\w+)\])?", requirement)
    metadata = ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    assert package
    assert package["name"] in (None, metadata["metadata"]["name"])
    assert package["extra"] is None or package["extra"] in metadata["options.extras_require"]


def check_python(arguments: list[str], _: EmulatorServer) -> None:
    assert arguments[:2] == ["-m", "airflow_provider_qianfan.emulator"]
    load(_parser().parse_args(arguments[2:]).scenario)


def check_airflow(arguments: list[str], _: EmulatorServer) -> None:
    from airflow.cli.cli_parser import get_parser

    options = get_parser().parse_args(arguments)
    if getattr(options, "conf", None):
        json.loads(options.conf)
    if dag_id := getattr(options, "dag_id", None):
        assert (ROOT / "dags" / f"{dag_id}.py").is_file()


def check_export(arguments: list[str], server: EmulatorServer) -> None:
    name, _, value = arguments[0].partition("=")
    if name in NAMES:
        find_route(Endpoint.parse(DEFAULT_ENDPOINT), None, True, {name: value})
        return
    assert name.startswith("AIRFLOW_")
    if name == "AIRFLOW_CONN_QIANFAN_DEFAULT":
        assert value == server.connection_uri.replace(str(server.port), str(_parser().get_default("port")))


def check_curl(arguments: list[str], server: EmulatorServer) -> None:
    url = next(argument for argument in arguments if argument.startswith("http"))
    options = {
        arguments[i]: arguments[i + 1] for i, argument in enumerate(arguments) if argument in ("-X", "-d")
    }
    local = url.replace(str(_parser().get_default("port")), str(server.port))
    answer = httpx.request(options.get("-X", "GET"), local, content=options.get("-d"))
    assert answer.status_code == 200, answer.text


def check_openssl(arguments: list[str], _: EmulatorServer) -> None:
    assert arguments[0] == "rehash"  # tests/faults does it


CHECKS: dict[str, Any] = {
    "airflow": check_airflow,
    "curl": check_curl,
    "export": check_export,
    "make": check_make,
    "openssl": check_openssl,
    "pip": check_pip,
    "python": check_python,
}


@pytest.mark.parametrize("block", all_blocks("shell"), ids=str)
def test_connection(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    export, assignment = shlex.split(block.code)
    name, _, value = assignment.partition("=")
    assert (export, name) == ("export", "AIRFLOW_CONN_QIANFAN_DEFAULT")
    monkeypatch.setenv(name, value)

    settings = QianfanHook().settings

    assert (settings.credentials.access_key_id, settings.credentials.secret_access_key) == (
        "ALTAKxxxx",
        "secret/key",
    )
