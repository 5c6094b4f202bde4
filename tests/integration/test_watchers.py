"""The life of a watcher: what Airflow keeps of it, when it goes on, and when it begins anew."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from airflow_provider_qianfan._compat import RECEIPTS
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from tests.dag_runs import AIRFLOW
from tests.integration.cells import SOURCE
from tests.integration.deliveries import ROOT, tasks_of
from tests.integration.services import Services
from tests.integration.services import wait_until as wait_long

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.world import World

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(AIRFLOW < (3, 0), reason="no asset has a watcher on Airflow 2.11"),
]

needs_store = pytest.mark.skipif(
    not RECEIPTS.is_there(), reason="before Airflow 3.3, each start reports again what it finds"
)

INTERVAL = 1.0
"""Seconds, as in the DAG files."""

QUIET = 7 * INTERVAL
"""Seconds in which a watcher would have reported what it has to."""

SOON = {
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "1",
}
"""Airflow notices within seconds that a DAG file is new, changed or gone, and what else that changes."""

NAMED = AIRFLOW >= (3, 2)
"""Whether Airflow keeps the names of watchers."""

DAG_FILE = """
import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger


def watched(name, watcher, **arguments):
    trigger = QianfanModelCompTaskEventTrigger(
        qianfan_conn_id="watchers", poke_interval=1, **arguments
    )
    return Asset(name, watchers=[AssetWatcher(name=watcher, trigger=trigger)])


def started_by(asset, dag_id):
    with DAG(dag_id, schedule=[asset], start_date=pendulum.datetime(2024, 1, 1)):
        EmptyOperator(task_id="deploy")


"""

TWINS = """
started_by(watched("twin_a", "first", name_pattern="twin-*"), "twin_a")
started_by(watched("twin_b", "second", name_pattern="twin-*"), "twin_b")
"""

PAUSED = """
paused = watched("paused", "qianfan", name_pattern="paused-*")
started_by(paused, "paused")
started_by(paused, "paused_too")
"""

GONE = """
started_by(watched("gone", "qianfan", name_pattern="gone-*"), "gone")
"""

CHANGED = """
started_by(watched("changed", "qianfan", name_pattern="old-*"), "changed")
"""


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until something is so, which takes Airflow some seconds."""
    wait_long(condition, 40)


BAD = re.compile(r"\[(error|critical) |Traceback|Trigger (exited|failed)")


class Stage:
    """Services whose DAG files come, change and go, and the platform that their watchers look at."""

    def __init__(self, services: Services, world: World) -> None:
        self._services, self._world = services, world
        self._database = sqlalchemy.create_engine(services.database_url)

    def finish(self, name: str) -> str:
        """Let a task of this name succeed now, and return its id."""
        return self._world.tasks.add(
            TaskSpec(SOURCE, name=name, status="succeeded", model_id=f"amv-of-{name}")
        )

    def file(self, name: str) -> Path:
        return self._services.home / "dags" / f"{name}.py"

    def write(self, name: str, text: str) -> None:
        write(self._services.home, name, text)

    def _select(self, query: str, **values: str) -> list[tuple[Any, ...]]:
        with self._database.connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(query), values)]

    def watchers(self, pattern: str) -> set[tuple[str, str | None, int]]:
        """Return the asset's name, the watcher's name and the trigger's id of each watcher of such assets."""
        table, name = ("asset_watcher", "asset_watcher.name") if NAMED else ("asset_trigger", "NULL")
        query = (
            f"SELECT asset.name, {name}, trigger.id FROM {table}"
            " JOIN asset ON asset.id = asset_id JOIN trigger ON trigger.id = trigger_id"
            " WHERE asset.name LIKE :pattern"
        )
        return {(asset, watcher, number) for asset, watcher, number in self._select(query, pattern=pattern)}

    def triggers(self) -> set[int]:
        """Return the ids of all triggers."""
        return {int(number) for (number,) in self._select("SELECT id FROM trigger")}

    def stored(self, asset: str) -> list[str]:
        """Return the keys of what Airflow keeps for an asset."""
        query = "SELECT key FROM asset_state_store JOIN asset ON asset.id = asset_id WHERE name = :asset"
        return [str(key) for (key,) in self._select(query, asset=asset)]

    def parse_again(self, dag_id: str) -> None:
        """Wait until the DAG's file has been parsed from the beginning, once more."""
        query = "SELECT last_parsed_time FROM dag WHERE dag_id = :dag_id"
        for _ in range(2):  # one may be under way
            before = self._select(query, dag_id=dag_id)
            wait_until(lambda: self._select(query, dag_id=dag_id) != before)  # noqa: B023  called at once

    def pause(self, dag_id: str, paused: bool = True) -> None:
        self._services.call("PATCH", f"/dags/{dag_id}", {"is_paused": paused})

    def starts(self, pattern: str) -> list[str]:
        """Return what the triggerer's log says of each first look of the watchers with this pattern."""
        line = re.compile(
            rf"Watcher [^(]* \(succeeded, name like '{re.escape(pattern)}'; [^)]*\): .* listed.*"
        )
        return line.findall(self.log())

    def wait_for_start(self, pattern: str, number: int = 1) -> None:
        wait_until(lambda: len(self.starts(pattern)) >= number)

    # Airflow's API answers 500 to a question for events while a run of theirs is queued.
    def reported(self, asset: str) -> list[str]:
        """Return the ids of the tasks in the asset's event log."""
        return self._tasks("JOIN asset ON asset.id = asset_id WHERE asset.name = :name", asset)

    def handed_out(self, dag_id: str) -> list[str]:
        """Return the ids of the tasks in the events that have started runs of the DAG."""
        runs = "JOIN dagrun_asset_event ON event_id = asset_event.id JOIN dag_run ON dag_run.id = dag_run_id"
        return self._tasks(f"{runs} WHERE dag_id = :name", dag_id)

    def _tasks(self, rest: str, name: str) -> list[str]:
        rows = self._select(
            f"SELECT asset_event.extra FROM asset_event {rest} ORDER BY asset_event.id", name=name
        )
        extras = [json.loads(extra) if isinstance(extra, str) else extra for (extra,) in rows]
        return [task["id"] for task in tasks_of({"extra": extra} for extra in extras)]

    def log(self) -> str:
        return (self._services.home / "triggerer.log").read_text(errors="replace")


def write(home: Path, name: str, text: str) -> None:
    (home / "dags" / f"{name}.py").write_text(DAG_FILE + text, encoding="utf-8")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("watchers")
    (home / "dags").mkdir()
    for name, text in {"twins": TWINS, "paused": PAUSED, "gone": GONE, "changed": CHANGED}.items():
        write(home, name, text)
    with EmulatorServer() as server:
        server.world.tasks.add(TaskSpec(SOURCE, name="history"))  # no watch begins with an empty list
        environment = {"AIRFLOW_CONN_WATCHERS": server.connection_uri, "PYTHONPATH": ROOT, **SOON}
        with Services(home, environment) as services:
            yield Stage(services, server.world)


def test_equal_watchers_in_a_file_are_two_and_stay_as_they_are(stage: Stage) -> None:
    stage.wait_for_start("twin-*", 2)
    watchers = stage.watchers("twin_%")
    stage.parse_again("twin_a")
    done = stage.finish("twin-1")

    wait_until(lambda: stage.reported("twin_a") and stage.reported("twin_b"))

    names = {asset: name for asset, name, _ in watchers}
    assert names == ({"twin_a": "first", "twin_b": "second"} if NAMED else {"twin_a": None, "twin_b": None})
    assert len({number for *_, number in watchers}) == 2
    assert stage.watchers("twin_%") == watchers
    assert stage.reported("twin_a") == stage.reported("twin_b") == [done]


def test_an_asset_is_watched_until_all_its_dags_are_paused(stage: Stage) -> None:
    stage.wait_for_start("paused-*")
    watchers = stage.watchers("paused")
    stage.pause("paused_too")
    stage.parse_again("paused")

    assert stage.watchers("paused") == watchers != set()

    stage.pause("paused")
    wait_until(lambda: not stage.watchers("paused"))
    stage.pause("paused_too", paused=False)
    wait_until(lambda: stage.watchers("paused"))


@needs_store
def test_what_finishes_while_a_dag_is_paused_starts_a_run_when_it_no_longer_is(stage: Stage) -> None:
    stage.wait_for_start("paused-*")
    before = stage.finish("paused-1")
    wait_until(lambda: stage.reported("paused"))
    ((*_, trigger),) = stage.watchers("paused")
    stage.pause("paused")
    stage.pause("paused_too")
    wait_until(lambda: trigger not in stage.triggers())
    time.sleep(QUIET)  # what runs may end
    meanwhile = stage.finish("paused-2")
    time.sleep(QUIET)
    assert stage.reported("paused") == [before]

    stage.pause("paused", paused=False)
    wait_until(lambda: meanwhile in stage.handed_out("paused"))
    time.sleep(QUIET)  # for a repeat; the first may have been reported just before the pause
    assert list(dict.fromkeys(stage.reported("paused"))) == [before, meanwhile]


@needs_store
def test_no_pause_loses_anything(stage: Stage) -> None:
    """Airflow ignores the events of a second or two, and confirms them all the same."""
    finished, stop = list[str](), threading.Event()

    def finish() -> None:
        while not stop.wait(0.3):
            finished.append(stage.finish(f"paused-more-{len(finished)}"))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(finish)
        try:
            for _ in range(2):
                time.sleep(2 * INTERVAL)
                stage.pause("paused")
                wait_until(lambda: not stage.watchers("paused"))
                time.sleep(QUIET)
                stage.pause("paused", paused=False)
                wait_until(lambda: stage.watchers("paused"))
                time.sleep(QUIET)
        finally:
            stop.set()

    wait_until(lambda: set(finished) <= set(stage.reported("paused")))


def test_a_changed_argument_makes_another_trigger(stage: Stage) -> None:
    stage.wait_for_start("old-*")
    ((*_, old),) = stage.watchers("changed")
    stage.finish("new-1")

    stage.write("changed", CHANGED.replace("old-*", "new-*"))
    stage.wait_for_start("new-*")
    wait_until(lambda: old not in stage.triggers())

    ((_, name, new),) = stage.watchers("changed")
    assert name == ("qianfan" if NAMED else None)
    assert new != old


@needs_store
def test_a_watcher_with_a_changed_argument_starts_for_the_first_time(stage: Stage) -> None:
    stage.wait_for_start("new-*")
    later = stage.finish("new-2")
    stage.finish("old-2")

    wait_until(lambda: later in stage.handed_out("changed"))
    time.sleep(QUIET)

    assert stage.reported("changed") == [later]


def test_the_log_names_the_watchers_and_holds_no_error(stage: Stage) -> None:
    for pattern in ("twin-*", "paused-*", "gone-*", "old-*"):
        stage.wait_for_start(pattern)
        said = stage.starts(pattern)[0]
        assert re.search(r"\d+ tasks? listed, \d+ not finished, \d+ to report\.", said)
    lines = stage.log().splitlines()
    # Another triggerer of this machine may serve its logs on the port that this one wants.
    errors = [line for line in lines if BAD.search(line) and "address already in use" not in line]

    assert errors == []


@needs_store
def test_a_watcher_whose_file_was_gone_starts_for_the_first_time_again(stage: Stage) -> None:
    stage.wait_for_start("gone-*")
    before = stage.finish("gone-1")
    wait_until(lambda: stage.reported("gone") and stage.stored("gone"))
    ((*_, trigger),) = stage.watchers("gone")

    stage.file("gone").unlink()
    wait_until(lambda: not stage.stored("gone") and trigger not in stage.triggers())
    stage.finish("gone-2")
    time.sleep(QUIET)
    assert not stage.stored("gone")

    starts = len(stage.starts("gone-*"))
    stage.write("gone", GONE)
    stage.wait_for_start("gone-*", starts + 1)
    later = stage.finish("gone-3")
    wait_until(lambda: later in stage.handed_out("gone"))
    time.sleep(QUIET)
    assert stage.reported("gone") == [before, later]
