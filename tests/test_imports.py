"""Every parse of a DAG file pays for our imports. ``make bench ARGS=imports`` measures the time."""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec
from tests.dag_runs import AIRFLOW_3
from tests.faults.tls import TlsServer
from tests.public import modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_qianfan.emulator.server import EmulatorServer

ROOT = Path(__file__).parent.parent
PRELOADING = ROOT / "docs" / "deploy" / "airflow_local_settings.py"
NOT_RUN_HERE = [*ROOT.glob("scripts/*.py"), *ROOT.glob("benchmarks/*.py")]
HEAVY = (
    "requests",
    "urllib3",
    "httpx",
    "aiohttp",
    "starlette",
    "fastapi",
    "uvicorn",
    "yaml",
    "airflow.triggers",
    "openlineage",
    "airflow.providers.openlineage",
)

PROBE = """
import json, sys
from airflow.providers.common.compat.sdk import BaseHook, BaseSensorOperator  # as any DAG file
before = set(sys.modules)
__import__({module!r})
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize(
    "module",
    [
        *modules("hooks", "operators", "sensors"),
        "airflow_provider_qianfan.assets.qianfan",
        "airflow_provider_qianfan.exceptions",
    ],
)
def test_importing_us_loads_nothing_heavy(module: str) -> None:
    probe = [sys.executable, "-W", "ignore", "-c", PROBE.format(module=module)]
    output = subprocess.run(probe, check=True, capture_output=True, text=True, timeout=60).stdout
    loaded = json.loads(output.splitlines()[-1])

    assert module in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2.11 loads requests itself")
@pytest.mark.parametrize("module", ["hooks._driver", "triggers._shared"])
def test_a_look_does_without_requests(module: str) -> None:
    """Each worker would have to load it first. Only a hook's session needs it."""
    probe = [sys.executable, "-W", "ignore", "-c", PROBE.format(module=f"airflow_provider_qianfan.{module}")]
    output = subprocess.run(probe, check=True, capture_output=True, text=True, timeout=60).stdout
    loaded = json.loads(output.splitlines()[-1])

    assert "urllib3" in loaded
    assert [name for name in loaded if name.startswith(("requests", "charset_"))] == []


OF_A_LOOK = ("airflow_provider_qianfan", "requests", "urllib3")

RESUMED = """
import json, sys
from types import SimpleNamespace as Instance
exec(open({settings!r}).read())
from airflow_provider_qianfan.hooks._sockets import tls_context
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
before, contexts = set(sys.modules), tls_context.cache_info().currsize
gate = QianfanModelCompTaskSensor(task_id="gate", source_model_id="amv-source", deferrable=True)
opened = gate.execute_complete({{"ti": Instance(xcom_push=lambda **_: None)}}, {{"version": 1}})
more = sorted(set(sys.modules) - before)
print(json.dumps([opened, more, contexts, tls_context.cache_info().currsize]))
"""


def test_preloading_leaves_nothing_to_load_for_a_look(emulator: EmulatorServer, tmp_path: Path) -> None:
    """Neither our modules and those of the network, nor the CA bundle."""
    emulator.world.tasks.add(TaskSpec("amv-source", status="succeeded", model_id="amv-made"))
    account = emulator.world.accounts[0]
    with TlsServer(emulator.url, tmp_path) as tls:
        connection = {
            "conn_type": "qianfan",
            "host": tls.url,
            "login": account.access_key_id,
            "password": account.secret_access_key,
        }
        output = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RESUMED.format(settings=str(PRELOADING))],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
            env={
                **os.environ,
                "AIRFLOW_CONN_QIANFAN_DEFAULT": json.dumps(connection),
                "REQUESTS_CA_BUNDLE": str(tls.certificate),
            },
        ).stdout
    opened, loaded, before, after = json.loads(output.splitlines()[-1])

    assert opened == "amv-made"
    assert [name for name in loaded if name.startswith(OF_A_LOOK)] == []
    assert (before, after) == (1, 1)


def test_preloading_does_without_a_ca_bundle_that_is_not_there() -> None:
    """Airflow would not start."""
    code = f"exec(open({str(PRELOADING)!r}).read())"
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": "/nowhere.pem"}

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60, env=environment)


@pytest.mark.parametrize(
    "module", ["hooks.qianfan", "operators.service", "sensors.model_compression", "_compat"]
)
def test_preloading_lets_any_module_be_the_first_to_load_airflow(tmp_path: Path, module: str) -> None:
    (tmp_path / "config").mkdir()
    shutil.copy(PRELOADING, tmp_path / "config")
    loaded = "'airflow_local_settings' in sys.modules"
    code = f"import sys; import airflow_provider_qianfan.{module}; print({loaded})"
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    ).stdout

    assert output.splitlines()[-1] == "True"


def names_from_us(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow_provider_qianfan"):
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize(
    "file", [*ROOT.glob("scripts/*.py"), *ROOT.glob("benchmarks/*.py")], ids=lambda f: f.name
)
def test_what_tests_do_not_run_imports_what_there_is(file: Path) -> None:
    for module, name in names_from_us(file):
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.import_module(f"{module}.{name}")


def test_provider_info_imports_nothing() -> None:
    code = (
        "import sys; from airflow_provider_qianfan.get_provider_info import get_provider_info;"
        "get_provider_info();"
        "print([m for m in sys.modules if m.startswith(('airflow.', 'requests', 'httpx'))])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )

    assert output.stdout.strip() == "[]"
