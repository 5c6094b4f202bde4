"""A worker and a triggerer that get different answers: each counts its own time."""

from __future__ import annotations

import re
import time
from socket import gethostname
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanTransientError,
)
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.gate.memory import Health, Memory, Observer, Run, failure_to_json
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer

SOURCE = "amv-source000001"
HOST = gethostname()
LOST = QianfanTransientError("DescribeModelCompTasks", "no connection")
REFUSED = QianfanAuthError("DescribeModelCompTasks", code="AccessDenied", http_status=403)
UNUSABLE = QianfanConfigurationError("HTTPS_PROXY is not the URL of a proxy.")
FAILURES = pytest.mark.parametrize("failure", [LOST, REFUSED, UNUSABLE], ids=["lost", "refused", "unusable"])


class Resumed(NamedTuple):
    """What a resume came to."""

    error: BaseException | None
    trigger: dict[str, Any]

    @property
    def memory(self) -> Memory:
        return Memory.from_json(self.trigger["memory"], now=0)


def resume(memory: Memory, failed: QianfanError | None = None, **arguments: Any) -> Resumed:
    """Resume a deferred gate with what a triggerer remembers."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    gate = QianfanModelCompTaskSensor(
        **{
            "task_id": "gate",
            "source_model_id": SOURCE,
            "deferrable": True,
            "poke_interval": 60,
            "max_unhealthy": 3600,
            "auth_grace": 600,
            **arguments,
        }
    )
    run = Run(Observer.TRIGGERER, time.time())
    event = {
        "target": Selector(SOURCE).to_json(),
        "memory": memory.to_json(),
        "failed": failed and failure_to_json(failed, run),
    }
    context: Any = {"ti": SimpleNamespace(start_date=None), "dag_run": None}
    try:
        gate.execute_complete(context, event)
    except TaskDeferred as deferred:
        return Resumed(None, deferred.trigger.serialize()[1])
    except Exception as error:
        return Resumed(error, {})
    raise AssertionError("it opened")


def remembered(**given: Any) -> Memory:
    """What a wait of a day remembers, whose triggerer saw the platform a moment ago."""
    now = time.time()
    usual = {
        "started": now - 86400,
        "deadline": now + 86400,
        "last_healthy": now,
        "worker": Health(healthy_at=now - 86400),
        "triggerer": Health(healthy_at=now),
    }
    return Memory(**{**usual, **given})


@pytest.fixture(autouse=True)
def database(airflow_db: None) -> None:
    """The sensor reads its connection through Airflow."""


@pytest.fixture
def blind(emulator: EmulatorServer) -> None:
    """The worker gets no answers, and is told so at once."""
    emulator.world.faults.append(Fault(rate_limit=True, retry_after=301))


def test_a_blind_worker_is_given_time_by_its_own_clock(
    blind: None, capfd: pytest.CaptureFixture[str]
) -> None:
    now = time.time()

    resumed = resume(remembered())

    assert resumed.error is None
    assert resumed.memory.worker.lost_since == pytest.approx(now, abs=30)
    assert "none in this worker; elsewhere" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("lost_for", "pause"),
    [
        pytest.param(400, 400, id="as long as it has been blind"),
        pytest.param(2000, 600, id="ten minutes at most"),
        pytest.param(3250, 350, id="to the end of its time"),
        pytest.param(0, 300, id="for as long as the platform asks for"),
    ],
)
def test_a_blind_worker_does_not_come_back_sooner_and_sooner(
    blind: None, lost_for: float, pause: float
) -> None:
    now = time.time()

    resumed = resume(remembered(worker=Health(lost_since=now - lost_for)))

    assert resumed.trigger["next_look_at"] - now == pytest.approx(pause, abs=20)
    assert resumed.trigger["called_in_vain"] is True
    assert resumed.memory.worker.again_at == resumed.trigger["next_look_at"]


def test_a_blind_worker_fails_the_gate_although_the_triggerer_sees(blind: None) -> None:
    resumed = resume(remembered(worker=Health(lost_since=time.time() - 3600)))

    assert isinstance(resumed.error, QianfanTransientError)
    assert f"for 1 hour (max_unhealthy) in the worker on {HOST}. The last look: " in str(resumed.error)


def test_a_worker_with_a_refused_key_has_a_grace_of_its_own(emulator: EmulatorServer, stranger: None) -> None:
    now = time.time()

    first = resume(remembered())
    last = resume(remembered(worker=Health(refused_since=now - 600)))

    assert first.error is None
    assert first.memory.worker.refused_since == pytest.approx(now, abs=30)
    assert isinstance(last.error, QianfanAuthError)
    assert f"refused in the worker on {HOST}, now for 10 minutes (auth_grace)" in str(last.error)
    assert last.error.__suppress_context__  # else the log tells the same error twice


@pytest.fixture
def stranger(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's key is another one than the platform knows."""
    uri = emulator.connection_uri
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", uri.replace("emulator-access-key-id", "stranger"))


def sentence(error: QianfanError) -> str:
    """Return what an error says, with one full stop."""
    return str(error).rstrip(".") + "."


@FAILURES
def test_a_blind_triggerer_has_one_more_look_if_the_worker_sees(
    emulator: EmulatorServer, capfd: pytest.CaptureFixture[str], failure: QianfanError
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="running"))

    resumed = resume(remembered(), failure)

    assert resumed.error is None
    assert resumed.memory.triggerer.excused
    assert resumed.trigger["called_in_vain"] is True
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "may try once more" in line]
    assert (
        f"In the triggerer on {HOST}: {sentence(failure)} Meanwhile the worker on {HOST} gets answers."
        in line
    )
    assert "error" in line.lower()


@FAILURES
def test_a_triggerer_that_stays_blind_fails_the_gate(emulator: EmulatorServer, failure: QianfanError) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="running"))

    resumed = resume(remembered(triggerer=Health(excused=True)), failure)

    assert type(resumed.error) is type(failure)
    assert str(resumed.error) == (
        f"In the triggerer on {HOST}: {sentence(failure)} Meanwhile the worker on {HOST} gets answers."
    )


@FAILURES
def test_two_that_are_blind_fail_the_gate_by_the_clock_of_the_first(
    blind: None, failure: QianfanError
) -> None:
    resumed = resume(remembered(), failure)

    assert type(resumed.error) is type(failure)
    told = f"In the triggerer on {HOST}: {sentence(failure)} Meanwhile the worker on {HOST} got: "
    assert told in str(resumed.error)
    assert re.search(r"[^.]\.$", str(resumed.error))


@FAILURES
def test_a_blind_triggerer_does_not_matter_if_the_wait_has_come_to_an_end(
    emulator: EmulatorServer, failure: QianfanError
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="failed"))

    resumed = resume(remembered(triggerer=Health(excused=True)), failure)

    assert "QianfanTaskFailedError" in type(resumed.error).__name__


def test_silent_fail_goes_on(emulator: EmulatorServer, capfd: pytest.CaptureFixture[str]) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="running"))

    resumed = resume(remembered(triggerer=Health(excused=True)), LOST, silent_fail=True)

    assert resumed.error is None
    assert f"Going on, as silent_fail is set: In the triggerer on {HOST}" in capfd.readouterr().out


def test_the_triggerer_that_recovered_is_well(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="running"))

    resumed = resume(remembered(triggerer=Health(healthy_at=1.0)))

    assert resumed.memory.triggerer == Health(healthy_at=1.0)
    assert resumed.memory.worker.failing_since is None
