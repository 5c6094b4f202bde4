"""Every parse of a DAG file pays for our imports. ``make bench ARGS=imports`` measures the time."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.public import modules

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
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


@pytest.mark.parametrize("module", ["hooks._driver", "triggers._shared"])
def test_a_look_does_without_requests(module: str) -> None:
    """Loading it takes a worker as long as the look itself. Only a hook's session needs it."""
    probe = [sys.executable, "-W", "ignore", "-c", PROBE.format(module=f"airflow_provider_qianfan.{module}")]
    output = subprocess.run(probe, check=True, capture_output=True, text=True, timeout=60).stdout
    loaded = json.loads(output.splitlines()[-1])

    assert "urllib3" in loaded
    assert [name for name in loaded if name.startswith(("requests", "charset_normalizer"))] == []


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
