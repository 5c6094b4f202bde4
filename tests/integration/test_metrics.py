"""The metrics of the shared poll leave a real triggerer."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from tests.integration.cells import MADE, SOURCE
from tests.integration.stage import connection

if TYPE_CHECKING:
    import socket

    from tests.integration.services import Services

pytestmark = pytest.mark.integration

NAMES = {"calls", "calls_saved", "throttled", "snapshot_age", "waits"}


def test_a_wait_is_measured(services: Services, statsd: socket.socket) -> None:
    with EmulatorServer() as server:
        task = server.world.tasks.add(TaskSpec(SOURCE, status="running"))
        account = server.world.account
        services.call("POST", "/connections", connection("metrics", server.url, account))
        run = services.trigger("metrics")

        heard: set[str] = set()
        deadline = time.monotonic() + 120
        while heard != NAMES and time.monotonic() < deadline:
            heard |= set(re.findall(r"airflow\.qianfan\.(\w+):", statsd.recv(65536).decode()))

        server.world.tasks.change(task, TaskStep(status="succeeded", model_id=MADE))
        services.wait(run, 120)
    assert heard == NAMES
