"""
The pytest plugin: a fixture ``qianfan`` that runs a DAG against the emulator.

pytest loads this module in every project of the environment. So it imports nothing of Airflow's, of the
emulator's or of the provider's before a test uses the fixture.
"""

from __future__ import annotations

import functools
import gc
import inspect
import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from airflow_provider_qianfan.emulator.scenario import Scenario
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import Call, World

POKE_INTERVAL = 0.1
"""Seconds between two looks; most of what a test waits for is then Airflow itself."""

DEFAULT_PATIENCE = 30.0
"""Seconds after which a wait is over that the scenario does not end."""

_AHEAD = timedelta(minutes=1)
"""What begins with the scenario was created after the run began, for a gate with ``created_after``."""

_NEEDED = {
    "apache-airflow": ("airflow",),
    "airflow-provider-qianfan[emulator]": ("starlette", "uvicorn", "yaml"),
}

_BUNDLES = (
    '[{"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",'
    ' "kwargs": {}}]'
)


@dataclass(frozen=True)
class DagRunResult:
    """
    What came of a run of a DAG.

    :param state: the state of the run: ``success`` or ``failed``.
    :param states: the state of each task, by its id. For a mapped task, a list of states.
    :param xcoms: the XComs of each task, by its id and then by key. For a mapped task, a list of such
        mappings. The return value of a task is under ``return_value``.
    """

    state: str
    states: dict[str, Any] = field(default_factory=dict)
    xcoms: dict[str, Any] = field(default_factory=dict)


class Qianfan:
    """
    What the fixture ``qianfan`` gives: a Qianfan platform for one test, and an Airflow that uses it.

    Time on the platform stands still, and leaps to the next change as soon as a task waits for one.

    :ivar world: the emulated platform, to put tasks, model versions, services and faults into.
    """

    def __init__(self, server: EmulatorServer, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.world: World = server.world
        self._server, self._monkeypatch, self._root = server, monkeypatch, root
        self._connections = ["qianfan_default"]
        self._connect()

    def load(self, scenario: Scenario | Mapping[str, object] | str | Path) -> None:
        """
        Begin anew with another scenario.

        :param scenario: the name of a built-in scenario, a mapping like a scenario file, or a YAML file. A
            relative path counts from pytest's root folder.
        """
        from airflow_provider_qianfan.emulator.scenario import builtin_scenarios, load

        if isinstance(scenario, str | Path) and str(scenario) not in builtin_scenarios():
            scenario = self._root / scenario
        self.world.scenario = load(scenario)
        self.world.reset()
        self._connect()

    def connect(self, conn_id: str) -> None:
        """Make another connection lead to the emulator, beside ``qianfan_default``."""
        self._connections.append(conn_id)
        self._connect()

    def _connect(self) -> None:
        for conn_id in self._connections:
            self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", self._server.connection_uri)

    def calls(self, action: str | None = None) -> list[Call]:
        """
        Return the requests that the emulator received, in their order.

        :param action: return only the requests of this action, such as ``CreateModelCompTask``.
        :raises ValueError: if the emulator does not know the action, and nobody has called it.
        """
        from airflow_provider_qianfan.emulator.faults import ACTIONS

        calls = list(self.world.calls)
        if action is None:
            return calls
        known = {*ACTIONS, *(stub.action for stub in self.world.stubs), *(call.action for call in calls)}
        if action not in known:
            raise ValueError(f"There is no action {action!r}. There are: {', '.join(sorted(known))}.")
        return [call for call in calls if call.action == action]

    def run(
        self,
        dag: Any,
        *,
        conf: dict[str, Any] | None = None,
        dag_id: str | None = None,
        patience: float = DEFAULT_PATIENCE,
        **arguments: Any,
    ) -> DagRunResult:
        """
        Run a DAG to its end, in this process, by ``dag.test()``.

        Whatever the DAG says, sensors look every 0.1 seconds, and retries follow at once. Long waits are cut
        to ``patience``. Everything else is as the DAG says, and the DAG itself stays as it is.

        :param dag: a DAG, or the file that makes it. A relative path counts from pytest's root folder.
        :param conf: the configuration of the run.
        :param dag_id: which DAG of the file is meant, if it makes several.
        :param patience: how many seconds a task waits at most. Longer values of ``timeout``, ``settle``,
            ``max_unhealthy`` and ``auth_grace`` are cut to this.
        :param arguments: further arguments of ``dag.test()``, such as ``logical_date``.
        """
        if isinstance(dag, str | Path):
            dag = _load_dag(self._root / dag, dag_id, self._monkeypatch)
        with pytest.MonkeyPatch.context() as monkeypatch, mock.patch.dict(os.environ):  # dag.test() sets some
            for task in dag.tasks:
                _hasten(task, patience, monkeypatch)
            _store(dag, monkeypatch)
            return _result_of(dag.test(run_conf=conf, **arguments))


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line(
        "markers",
        "qianfan(scenario): the scenario that the emulator of the fixture qianfan begins with:"
        " the name of a built-in scenario, a mapping, or a YAML file",
    )


@pytest.hookimpl(hookwrapper=True)  # which pytest 7 knows, too
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Show beside a failure what the emulator was asked, and what it refused."""
    outcome = yield
    report = outcome.get_result()
    given = getattr(item, "funcargs", {}).get("qianfan")
    if report.when == "call" and report.failed and isinstance(given, Qianfan):
        lines = [
            f"{line} (and again, {len(rest)} times)" if (rest := list(same)[1:]) else line
            for line, same in groupby(map(_line, given.calls()))
        ]
        report.sections.append(("Requests to the Qianfan emulator", "\n".join(lines) or "none"))


def _line(call: Call) -> str:
    words = (call.path, call.action or "(no action)", str(call.status), call.code or "")
    return " ".join(words).rstrip()


@pytest.fixture
def qianfan(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _airflow_database: Path
) -> Iterator[Qianfan]:
    """
    Give an emulated Qianfan platform, with ``qianfan_default`` leading to it, and an Airflow to run DAGs in.

    The marker ``qianfan`` says with which scenario the platform begins.
    """
    from airflow_provider_qianfan.emulator.clock import LeapingClock
    from airflow_provider_qianfan.emulator.server import EmulatorServer

    with (
        _airflow(tmp_path_factory.mktemp("airflow"), _airflow_database) as monkeypatch,
        EmulatorServer(clock=LeapingClock(datetime.now(UTC) + _AHEAD)) as server,
    ):
        given = Qianfan(server, monkeypatch, request.config.rootpath)
        marker = request.node.get_closest_marker("qianfan")
        if marker is not None:
            given.load(*marker.args, **marker.kwargs)
        yield given


@pytest.fixture(scope="session")
def _airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty Airflow database, which each test gets a copy of."""
    import sqlite3

    _check_installed()
    folder = tmp_path_factory.mktemp("airflow")
    made = folder / "empty.db"
    gc.disable()  # what is loaded here stays; to look through it again and again takes seconds
    try:
        with _airflow(folder):
            _create_tables()
            _make_api_server()
        gc.freeze()
    finally:
        gc.enable()
    with sqlite3.connect(folder / "airflow.db") as connection:
        connection.execute("VACUUM INTO ?", [str(made)])
    return made


def _check_installed() -> None:
    for package, modules in _NEEDED.items():
        for module in modules:
            if not _has(module):
                pytest.fail(
                    f"The fixture qianfan needs {module}. Install it: pip install '{package}'", pytrace=False
                )


def _create_tables() -> None:
    """Do what ``airflow db migrate`` does with an empty database, without what only a server needs."""
    from airflow import settings
    from airflow.models.base import Base

    db: Any = import_module("airflow.utils.db")
    db.import_all_models()
    if not _has("airflow.sdk"):
        import_module("airflow.providers.fab.auth_manager.models")  # Airflow 2.11's notes belong to users
    Base.metadata.create_all(settings.engine)
    db.add_default_pool_if_not_exists()
    db.synchronize_log_template()


@contextmanager
def _airflow(folder: Path, database: Path | None = None) -> Iterator[pytest.MonkeyPatch]:
    """
    Have Airflow use a database of its own for a while, whichever it has been set up with.

    Airflow reads the environment first, and may be told to read it again. So the rest of its configuration
    counts, and it does not matter when it was imported.

    :param folder: for the database, the logs and an empty DAGs folder.
    :param database: what the database is a copy of; default: an empty file.
    """
    from airflow import settings

    file, dags = folder / "airflow.db", folder / "dags"
    dags.mkdir()
    if database is not None:
        file.write_bytes(database.read_bytes())
    environment = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{file}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"sqlite+aiosqlite:///{file}",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": _BUNDLES,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "AIRFLOW__QIANFAN__SHORTEST_INTERVAL": str(POKE_INTERVAL),
        # They are asked before the environment, and might know the real platform's key.
        "AIRFLOW__SECRETS__BACKEND": "",
        "AIRFLOW__WORKERS__SECRETS_BACKEND": "",
    }
    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            _forget_secrets_backends(monkeypatch)
            _hurry(monkeypatch)
            _reconnect(settings)
            yield monkeypatch
    finally:
        _reconnect(settings)


def _forget_secrets_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Airflow read again which secrets backends there are: it keeps those that it has made."""
    from airflow import configuration

    backends = configuration.initialize_secrets_backends()
    monkeypatch.setattr(configuration, "secrets_backend_list", backends)
    sdk = sys.modules.get("airflow.sdk.configuration")
    if sdk is not None and hasattr(sdk, "clear_secrets_backends_cache"):  # since Airflow 3.3
        sdk.clear_secrets_backends_cache()


def _reconnect(settings: Any) -> None:
    settings.configure_vars()
    settings.dispose_orm()
    settings.configure_orm()


def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that no argument of a task shortens."""
    from airflow_provider_qianfan.changes import journal
    from airflow_provider_qianfan.gate import look
    from airflow_provider_qianfan.triggers import waiting

    monkeypatch.setattr(waiting, "SHORTEST_INTERVAL", POKE_INTERVAL)
    monkeypatch.setattr(journal, "LOOK_AGAIN", POKE_INTERVAL)
    monkeypatch.setattr(look, "DETAIL_PAUSE", POKE_INTERVAL)
    supervisor = _supervisor()
    if supervisor is not None and not hasattr(supervisor.in_process_api_server, "cache_info"):
        # Before Airflow 3.3, each start of a task makes one, in seconds.
        monkeypatch.setattr(supervisor, "in_process_api_server", _api_server)


def _make_api_server() -> None:
    """Make what tasks talk to in ``dag.test()``, of Airflow 3."""
    supervisor = _supervisor()
    if supervisor is not None:
        import httpx

        api = supervisor.in_process_api_server()
        with httpx.Client(transport=api.transport, base_url="http://in-process.invalid") as client:
            client.get("/health")  # the first request makes most of it


def _supervisor() -> Any:
    name = "airflow.sdk.execution_time.supervisor"
    return import_module(name) if _has(name) else None


@functools.cache
def _api_server() -> Any:
    from airflow.api_fastapi.execution_api.app import InProcessExecutionAPI

    return InProcessExecutionAPI()


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _hasten(task: Any, patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a task look often, retry at once, and give up soon."""
    if hasattr(task, "partial_kwargs"):  # a mapped one: its tasks are made of these
        given, parameters = task.partial_kwargs, _parameters(task.operator_class)

        def change(name: str, value: Any) -> None:
            monkeypatch.setitem(given, name, value)
    else:
        given, parameters = vars(task), set(vars(task))

        def change(name: str, value: Any) -> None:
            monkeypatch.setattr(task, name, value)

    change("retry_delay", timedelta(0))
    change("retry_exponential_backoff", False)
    if "poke_interval" not in parameters:
        return
    # What is rescheduled for now runs now; else dag.test() sleeps for a second.
    change("poke_interval", 0.0 if given.get("mode") == "reschedule" else POKE_INTERVAL)
    for name in parameters & {"timeout", "settle", "max_unhealthy", "auth_grace"}:
        limit = given.get(name)
        seconds = limit.total_seconds() if isinstance(limit, timedelta) else limit
        change(name, patience if seconds is None else min(seconds, patience))


def _parameters(operator_class: type) -> set[str]:
    """Name the arguments of an operator, those of its bases among them."""
    return {
        name
        for one in operator_class.__mro__
        if "__init__" in vars(one)
        for name in inspect.signature(vars(one)["__init__"]).parameters
    }


def _load_dag(file: Path, dag_id: str | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load the DAG of a file as Airflow does."""
    monkeypatch.syspath_prepend(str(file.parent))
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}.")
    bag = _dagbag().DagBag(str(file), safe_mode=False)
    for error in bag.import_errors.values():
        pytest.fail(f"{file} cannot be imported.\n{error}", pytrace=False)
    if dag_id is None and len(bag.dags) == 1:
        (dag_id,) = bag.dags
    if dag_id not in bag.dags:
        raise ValueError(f"{file} makes the DAGs {sorted(bag.dags)}: say by dag_id which is meant.")
    return bag.dags[dag_id]


def _dagbag() -> Any:
    name = "airflow.dag_processing.dagbag"  # since Airflow 3.2
    return import_module(name if _has(name) else "airflow.models.dagbag")


def _store(dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store a DAG as a DAG processor would: since Airflow 3.1, ``dag.test()`` looks for it there."""
    module = _dagbag()
    if not hasattr(module, "sync_bag_to_db"):
        return
    from airflow import settings
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.session import create_session

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    bag = module.DagBag(settings.DAGS_FOLDER)
    bag.dags[dag.dag_id] = dag
    monkeypatch.setattr(dag, "relative_fileloc", f"{dag.dag_id}.py")
    module.sync_bag_to_db(bag, "dags-folder", None)


def _result_of(run: Any) -> DagRunResult:
    """Collect what came of a run."""
    result = DagRunResult(str(run.state))
    for ti in sorted(run.get_task_instances(), key=lambda ti: ti.map_index):
        state, xcoms = str(ti.state), _xcoms_of(ti)
        if ti.map_index < 0:
            result.states[ti.task_id], result.xcoms[ti.task_id] = state, xcoms
        else:
            result.states.setdefault(ti.task_id, []).append(state)
            result.xcoms.setdefault(ti.task_id, []).append(xcoms)
    return result


def _xcoms_of(ti: Any) -> dict[str, Any]:
    from airflow.utils.session import create_session
    from sqlalchemy import select

    xcom: Any = import_module("airflow.models.xcom")
    of_ti = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
    with create_session() as session:
        if hasattr(xcom, "XComModel"):
            rows = session.scalars(select(xcom.XComModel).filter_by(**of_ti))
            return {row.key: xcom.XComModel.deserialize_value(row) for row in rows}
        return {row.key: row.value for row in session.scalars(select(xcom.XCom).filter_by(**of_ti))}
