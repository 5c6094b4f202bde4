"""Every parse of a DAG file pays for our imports; `make bench ARGS=imports` tells the time it takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.public import modules

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
    [*modules("hooks", "operators", "sensors"), "airflow_provider_qianfan.exceptions"],
)
def test_importing_us_loads_nothing_heavy(module: str) -> None:
    probe = [sys.executable, "-W", "ignore", "-c", PROBE.format(module=module)]
    output = subprocess.run(probe, check=True, capture_output=True, text=True, timeout=60).stdout
    loaded = json.loads(output.splitlines()[-1])

    assert module in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []


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
