"""
List with the ``qianfan`` SDK, once for each line on stdin. Print the seconds and the number of tasks.

It runs in its own venv, with the SDK and nothing of ours.
"""

from __future__ import annotations

import sys
import time

from qianfan.resources.console.model import Model


def read_all() -> int:
    """Read page by page."""
    rows, marker = [], None
    while True:
        answer = Model.V2.describe_model_comp_tasks(marker=marker, max_keys=100)
        result = answer.body["result"]
        rows += result["modelCompTaskList"]
        if not result["pageInfo"]["isTruncated"]:
            return len(rows)
        marker = result["pageInfo"]["nextMarker"]


for _ in sys.stdin:
    began = time.perf_counter()
    count = read_all()
    print(time.perf_counter() - began, count, flush=True)
