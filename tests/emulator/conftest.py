from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.emulator.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_qianfan.emulator.world import World


@pytest.fixture
def emulator() -> Iterator[EmulatorServer]:
    """Serve an empty world whose time stands still."""
    with EmulatorServer(clock=ManualClock()) as server:
        yield server


@pytest.fixture
def world(emulator: EmulatorServer) -> World:
    return emulator.world


@pytest.fixture
def client(emulator: EmulatorServer) -> Iterator[Client]:
    with Client(emulator.url) as client:
        yield client
