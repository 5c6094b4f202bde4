"""Airflow in a temporary folder, and the emulator on a real socket."""

from __future__ import annotations

import argparse
import fcntl
import gc
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Before anything imports Airflow, which reads these once.
HOME = Path(tempfile.mkdtemp(prefix="qianfan-tests-"))
# What this machine says of proxies and certificates is no matter of the tests.
NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
for name in [
    name for name in os.environ if name.startswith(("AIRFLOW", "SSL_CERT_")) or name.upper() in NETWORK
]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
}
(HOME / "dags").mkdir()

from airflow_provider_qianfan.emulator.server import EmulatorServer  # noqa: E402
from tests.dag_runs import AIRFLOW, AIRFLOW_3, DagRunner  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

collect_ignore = []
if AIRFLOW < (3, 1):  # its log has another format
    collect_ignore += ["sensors/test_logs.py"]
if not AIRFLOW_3:  # killed triggers, OpenLineage's listener, samples, the DAGs to copy, the DAG of all names
    collect_ignore += ["triggers/test_model_compression.py", "assets/test_openlineage.py"]
    collect_ignore += ["assets/test_finished.py", "docs", "dags", "test_user_dag.py"]
    collect_ignore += ["integration/test_events.py"]
if AIRFLOW < (3, 3):  # its tasks name no partitions; it keeps other things elsewhere
    collect_ignore += ["dags/test_deploy_each_finished_model.py", "integration/test_canary.py"]
    # They need time-machine, which only this Airflow's lock has, and loggers that heed a new sys.stdout.
    collect_ignore += ["proof/test_events.py", "proof/test_gates.py", "proof/test_secrets.py"]


@contextmanager
def _kept() -> Iterator[None]:
    """Keep what is made here out of garbage collection: it stays, and looking through it takes time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    with _kept():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what Airflow's services complained of."""
    report = yield
    services = getattr(item, "funcargs", {}).get("services")
    if report.failed and hasattr(services, "errors"):
        report.sections.append(("Airflow's errors", services.errors()))
    return report


def _worlds(text: str) -> int:
    if (worlds := int(text)) < 4:
        raise argparse.ArgumentTypeError(
            f"{worlds} is too few. Try 4 or more: they are played in four parts."
        )
    return worlds


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tables", action="store_true", help="print the tables that tests fill, row by row")
    parser.addoption("--worlds", type=_worlds, default=2000, help="random worlds of each part of the proof")
    parser.addoption("--seed", type=int, default=0, help="where the proof's random numbers begin")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table for each property that tests recorded as a tuple: its cells."""
    if not terminalreporter.config.getoption("tables"):
        return
    tables: dict[str, list[Any]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, cells in report.user_properties:
                    tables.setdefault(name, []).append(cells)
    for name, rows in tables.items():
        terminalreporter.section(name)
        for row in sorted(rows):
            terminalreporter.write_line("  |  ".join(map(str, row)))


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An Airflow database. In a parallel run one process makes it, and the others copy it."""
    made = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        made = made.parent
    with (made / "airflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "airflow.db").exists():
            airflow = Path(sys.executable).parent / "airflow"
            subprocess.run([airflow, "db", "migrate"], check=True, capture_output=True, timeout=120)
            shutil.copy(HOME / "airflow.db", made)
        elif not (HOME / "airflow.db").exists():
            shutil.copy(made / "airflow.db", HOME)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorServer]:
    """An emulator without tasks; the connection ``qianfan_default`` points to it."""
    with EmulatorServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", server.connection_uri)
        yield server


@pytest.fixture(scope="session")
def warm_airflow(airflow_db: None) -> None:
    """An Airflow that has run a task: the first takes seconds, which tests of waiting must not mistake."""
    if AIRFLOW == (3, 0):  # its dag.test() logs as structlog does by itself: all, and the values of variables
        import structlog

        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)],
        )
    from airflow.providers.common.compat.sdk import BaseOperator

    class Nothing(BaseOperator):
        def execute(self, context: Any) -> None:
            pass

    with _kept():
        DagRunner(lambda: "").run(lambda: Nothing(task_id="warm"))


@pytest.fixture
def in_beijing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock shows Beijing's time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CST-8")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for a moment, wherever a test would only wait for the end of a pause."""
    from airflow_provider_qianfan.changes import journal
    from airflow_provider_qianfan.gate import look
    from airflow_provider_qianfan.triggers import waiting

    monkeypatch.setattr(journal, "LOOK_AGAIN", 0.1)
    monkeypatch.setattr(look, "DETAIL_PAUSE", 0.1)
    monkeypatch.setattr(waiting, "SHORTEST_INTERVAL", 0.1)
    monkeypatch.setenv("AIRFLOW__QIANFAN__SHORTEST_INTERVAL", "0.1")


@pytest.fixture
def dag_runner(warm_airflow: None, in_a_hurry: None, capfd: pytest.CaptureFixture[str]) -> DagRunner:
    """Runs DAGs on real Airflow, in this process."""
    return DagRunner(lambda: "".join(capfd.readouterr()))


@pytest.fixture
def refuse_xcom(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have Airflow's XCom backend refuse a key."""
    if AIRFLOW_3:
        from airflow.sdk.execution_time.xcom import XCom
    else:
        from airflow.models.xcom import XCom
    method = "store_value" if hasattr(XCom, "store_value") else "serialize_value"  # the former since 3.4
    store: Any = getattr(XCom, method)

    def refuse(refused: str) -> None:
        def refuse_it(*args: Any, **kwargs: Any) -> Any:
            if refused in (kwargs.get("key"), *args[1:2]):
                raise OSError("the bucket s3://secret is full")
            return store(*args, **kwargs)

        monkeypatch.setattr(XCom, method, staticmethod(refuse_it))

    return refuse
