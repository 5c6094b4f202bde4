"""What importing our public modules adds to ``airflow.sdk``: every parse of a DAG file pays for it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from benchmarks.table import Result

OURS = {
    "airflow_provider_qianfan.sensors.model_compression": "sensors",
    "airflow_provider_qianfan.sensors.model": "sensors",
    "airflow_provider_qianfan.sensors.service": "sensors",
    "airflow_provider_qianfan.operators.model_compression": "sensors",
    "airflow_provider_qianfan.operators.service": "sensors",
    "airflow_provider_qianfan.hooks.qianfan": "sensors",
    "airflow_provider_qianfan.exceptions": "sensors",
    "airflow_provider_qianfan.triggers.model_compression": "triggers",
}
PEERS = {
    "HttpSensor": {
        "sensors": "airflow.providers.http.sensors.http",
        "triggers": "airflow.providers.http.triggers.http",
    },
    "DbtCloudJobRunSensor": {
        "sensors": "airflow.providers.dbt.cloud.sensors.dbt",
        "triggers": "airflow.providers.dbt.cloud.triggers.dbt",
    },
}
ROUNDS = 9
MOST = 10.0
"""Milliseconds of CPU. A busy machine makes imports wait, but does not make them need more CPU."""

PROBE = """
import json, sys, time
import airflow.sdk
from airflow.sdk import BaseHook, BaseSensorOperator  # what any DAG file with a sensor has loaded
before, start = len(sys.modules), time.process_time()
__import__({module!r})
print(json.dumps([(time.process_time() - start) * 1000, len(sys.modules) - before]))
"""


def run() -> list[Result]:
    """Import each module in fresh processes, round by round: a noisy moment then hits all of them."""
    modules = [*OURS, *(module for peer in PEERS.values() for module in peer.values())]
    for module in modules:
        measure(module)  # compiles bytecode
    rounds = [{module: measure(module) for module in modules} for _ in range(ROUNDS)]
    took = {module: statistics.median(each[module][0] for each in rounds) for module in modules}
    loaded = {module: rounds[0][module][1] for module in modules}
    results = []
    for ours, kind in OURS.items():
        for name, peer in PEERS.items():
            theirs = peer[kind]
            parsed = kind == "sensors"
            results.append(
                Result(
                    row="importing a module, after `airflow.sdk`",
                    case=f"`{ours.removeprefix('airflow_provider_qianfan.')}`",
                    ours=took[ours],
                    peer=f"the module of {name}" if parsed else f"the trigger's of {name}",
                    theirs=took[theirs],
                    unit="ms of CPU",
                    target=f"≤ {MOST:.0f} ms" if parsed else "",
                    met=took[ours] <= MOST if parsed else None,
                    note=f"new modules: {loaded[ours]} beside {loaded[theirs]}"
                    + ("" if parsed else "; no DAG file imports it"),
                )
            )
    return results


def measure(module: str) -> tuple[float, int]:
    """Import ``module`` in a fresh process. Return milliseconds of CPU, and how many modules it loaded."""
    command = [sys.executable, "-W", "ignore", "-c", PROBE.format(module=module)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    milliseconds, modules = json.loads(output.splitlines()[-1])
    return milliseconds, modules
