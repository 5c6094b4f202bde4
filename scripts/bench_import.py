"""Time what importing our public modules adds to ``airflow.sdk``: the median of fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

MODULES = (
    "airflow_provider_qianfan.sensors.model_compression",
    "airflow_provider_qianfan.operators.model_compression",
    "airflow_provider_qianfan.hooks.qianfan",
    "airflow.providers.standard.sensors.filesystem",  # for comparison: a sensor of Airflow's own
)
RUNS = 7

PROBE = """
import json, sys, time
import airflow.sdk
from airflow.sdk import BaseHook, BaseSensorOperator
before, start = len(sys.modules), time.perf_counter()
__import__({module!r})
print(json.dumps([(time.perf_counter() - start) * 1000, len(sys.modules) - before]))
"""


def measure(module: str) -> tuple[float, int]:
    """Import ``module`` in a fresh process; return milliseconds and the number of modules it loaded."""
    command = [sys.executable, "-W", "ignore", "-c", PROBE.format(module=module)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    milliseconds, modules = json.loads(output.splitlines()[-1])
    return milliseconds, modules


if __name__ == "__main__":
    measure(MODULES[0])  # compiles bytecode
    print(f"{'module, after airflow.sdk':55} {'ms':>7} {'new modules':>12}")
    # Round by round, so that a noisy moment hits all of them.
    rounds = [[measure(module) for module in MODULES] for _ in range(RUNS)]
    for module, samples in zip(MODULES, zip(*rounds, strict=True), strict=True):
        print(f"{module:55} {statistics.median(each[0] for each in samples):7.1f} {samples[0][1]:12d}")
