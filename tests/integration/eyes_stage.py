"""The platform of two observers: each reaches it by its own route."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from tests.faults.proxy import REFUSE, FaultProxy
from tests.integration.cells import MADE, SOURCE
from tests.integration.eyes import OBSERVERS
from tests.integration.stage import connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.world import Call
    from tests.integration.eyes import Eyes, Observer

COMPONENTS: dict[Observer, str] = {"worker": "scheduler", "triggerer": "triggerer"}
"""Whose environment an observer has."""


class Platform:
    """
    One emulator with a task that runs, and a key, a proxy and a CA bundle for each observer.

    :param conn_id: the id of the two connections.
    :param folder: for the CA bundles.
    """

    def __init__(self, conn_id: str, folder: Path, stack: contextlib.ExitStack) -> None:
        server = stack.enter_context(EmulatorServer())
        self.conn_id, self.world = conn_id, server.world
        self._task = self.world.tasks.add(TaskSpec(SOURCE, status="running"))
        self._accounts = {
            name: Account(access_key_id=f"{name}-id", secret_access_key=f"{name}-secret")
            for name in OBSERVERS
        }
        self.world.accounts = list(self._accounts.values())
        self._proxies = {name: stack.enter_context(FaultProxy(server.url)) for name in OBSERVERS}
        self._bundles = {name: folder / f"{conn_id}.{name}.pem" for name in OBSERVERS}
        for bundle in self._bundles.values():
            bundle.touch()

    def connection(self, observer: Observer) -> dict[str, Any]:
        """Return an observer's connection, as JSON in an environment variable may be."""
        made = connection(self.conn_id, self._proxies[observer].url, self._accounts[observer])
        del made["connection_id"]
        return {**made, "extra": {**json.loads(made["extra"]), "verify": str(self._bundles[observer])}}

    def prepare(self, eyes: Eyes) -> None:
        """Spoil from the beginning what a triggerer reads only once, and after the worker's first look."""
        if eyes.trouble == "unusable settings" and "triggerer" in eyes.blind:
            self._bundles["triggerer"].unlink()

    def begin(self, eyes: Eyes) -> None:
        """Let the trouble begin."""
        for observer in eyes.blind:
            if eyes.trouble == "unreachable":
                self._proxies[observer].mode = REFUSE
            elif eyes.trouble == "refused key":
                self._accounts[observer].secret_access_key = "another"
            else:
                self._bundles[observer].unlink(missing_ok=True)
        if eyes.ends:
            self.succeed()

    def succeed(self) -> None:
        """Let the task succeed."""
        self.world.tasks.change(self._task, TaskStep("succeeded", model_id=MADE))

    def calls(self, observer: Observer) -> list[Call]:
        """Return an observer's calls."""
        return [call for call in list(self.world.calls) if call.access_key_id == f"{observer}-id"]


@contextlib.contextmanager
def platforms(conn_ids: list[str], folder: Path) -> Iterator[dict[str, Platform]]:
    """Set up a platform for each connection."""
    with contextlib.ExitStack() as stack:
        yield {conn_id: Platform(conn_id, folder, stack) for conn_id in conn_ids}


def environments(platforms: dict[str, Platform]) -> dict[str, dict[str, str]]:
    """Return the environment variables of each of Airflow's components: what an observer is told."""
    return {
        component: {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(platform.connection(observer))
            for conn_id, platform in platforms.items()
        }
        for observer, component in COMPONENTS.items()
    }
