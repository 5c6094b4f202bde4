"""
The lines of the log, word for word: a person on call at night has nothing else to go by.

The platform's time is counted in looks, so that a wait takes the same course on every machine. Its clock
starts at eight o'clock of a fixed day, and each look moves it on by a second.
"""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_qianfan.emulator.world import Call
    from tests.dag_runs import DagRunner

SOURCE = "amv-source000001"
LIST = "DescribeModelCompTasks"
EIGHT = datetime(2026, 1, 31, 8, tzinfo=UTC)
MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False},
    "deferrable": {"deferrable": True},
    "reschedule": {"mode": "reschedule"},
}

LINE = re.compile(r"\S+ \[(?P<level>\w+) *\] (?P<text>.*\S) *\[(?P<logger>[\w.]+)\] (?P<where>.*)")
RAISED = re.compile(r"(?:\w+\.)*(?P<error>\w+(?:Error|Exception|Timeout)): (?P<text>.*)")
VARYING = re.compile(
    r"(?<=request id )[0-9a-f-]{36}|(?<=Timed out after )\d+ seconds?|(?<=the last one was )\d+ seconds?"
)


def said(log: str) -> str:
    """
    Return level and text of each line that is not Airflow's own, and what its tracebacks end with; folded.

    A line of a library that we use, such as httpx, is not Airflow's either.
    """
    lines = []
    for row in log.splitlines():
        if (line := LINE.fullmatch(row)) and not is_airflows(line):
            lines.append(f"{line['level'].upper()} {line['text']}")
        elif raised := RAISED.fullmatch(row):
            lines.append(f"ERROR {raised['error']}: {raised['text']}")
    return "".join(
        textwrap.fill(VARYING.sub("…", line), 100, subsequent_indent="    ", break_on_hyphens=False) + "\n"
        for line in lines
    )


def is_airflows(line: re.Match[str]) -> bool:
    if "airflow_provider_qianfan" in line["logger"]:
        return line["where"].startswith("loc=sensor.py:")  # its base class: "Success criteria met. Exiting."
    return line["logger"] == "task" or line["logger"].startswith("airflow.")


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorServer]:
    with EmulatorServer(clock=ManualClock(EIGHT)) as server:

        def tick(call: Call) -> None:
            if call.action == LIST:
                server.world.advance(1)

        server.world.on_call = tick
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", server.connection_uri)
        yield server


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the trigger look as often as the sensor."""
    monkeypatch.setattr("airflow_provider_qianfan.triggers.waiting.SHORTEST_INTERVAL", 0.1)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Any:
    return request.param


def lines_of(dag_runner: DagRunner, mode: str, **arguments: Any) -> str:
    """Run the gate, and return its lines."""
    usual = {"source_model_id": SOURCE, "created_after": EIGHT, "poke_interval": 0.1, "timeout": 20}
    dag_runner.run(
        lambda: QianfanModelCompTaskSensor(task_id="gate", **{**usual, **MODES[mode], **arguments})
    )
    return said(dag_runner.log)


def add_task_of(emulator: EmulatorServer, looks: int) -> None:
    """Add a task that is ``creating`` and then ``running`` for so many looks each, and then succeeds."""
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            id="amva-1",
            name="demo",
            timeline=(
                TaskStep(status="creating"),
                TaskStep(after=looks, status="running"),
                TaskStep(after=2 * looks, status="succeeded", model_id="amv-made00000001"),
            ),
        )
    )


# The poke_interval is 0.1 s, which is rounded.
A_WAIT = """\
INFO Waiting: amva-1 ('demo') is creating. Next look in 0 seconds.
INFO Waiting: amva-1 ('demo') is running. Next look in 0 seconds.
INFO The gate opens: model amv-made00000001, produced by amva-1 ('demo').
"""

# It remembers nothing between two looks, so it does not know that something has changed: it writes a line
# every ten minutes, whatever happens, and these waits are shorter.
A_RESCHEDULED_WAIT = """\
INFO Waiting: amva-1 ('demo') is creating. Next look in 0 seconds.
INFO The gate opens: model amv-made00000001, produced by amva-1 ('demo').
"""


def test_a_wait(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    add_task_of(emulator, looks=1)

    assert lines_of(dag_runner, mode) == (A_RESCHEDULED_WAIT if mode == "reschedule" else A_WAIT)
    assert emulator.world.count(LIST) == (4 if mode == "deferrable" else 3)  # the last one in a worker


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_no_line_per_poll(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    add_task_of(emulator, looks=4)

    assert lines_of(dag_runner, mode) == A_WAIT
    assert emulator.world.count(LIST) >= 9


def test_a_failed_task(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            id="amva-1",
            name="demo",
            timeline=(
                TaskStep(status="running"),
                TaskStep(after=1, status="failed", failed_reason="the calibration data set is empty"),
            ),
        )
    )

    assert (
        lines_of(dag_runner, mode)
        == """\
INFO Waiting: amva-1 ('demo') is running. Next look in 0 seconds.
ERROR The compression failed: the calibration data set is empty. The gate stays shut. Look at model
    compression task amva-1 ('demo') in the Qianfan console, create it again, and clear this Airflow
    task. This task fails, and is not tried again (QianfanTaskFailedError).
ERROR QianfanTaskFailedError: The compression failed: the calibration data set is empty. The gate
    stays shut. Look at model compression task amva-1 ('demo') in the Qianfan console, create it
    again, and clear this Airflow task.
"""
    )


def test_a_skip(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", name="demo", status="stopped"))

    assert (
        lines_of(dag_runner, mode, soft_fail=True)
        == """\
WARNING Model compression task amva-1 ('demo') was stopped. The gate stays shut. Create the task
    again, and clear this Airflow task. This task is skipped (QianfanTaskFailedError).
"""
    )


def test_an_ambiguous_selection(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", name="first"))
    emulator.world.advance(90)
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-2", name="second", config={"strategy": "Sparse"}))

    assert (
        lines_of(dag_runner, mode)
        == """\
ERROR 2 model compression tasks are under way at once: amva-2 ('second'), running, created
    2026-01-31T08:01:30+00:00, config {"strategy": "Sparse"}; amva-1 ('first'), running, created
    2026-01-31T08:00:00+00:00, config {"strategy": "Quantization", "weight": "INT8-PTQ"}. The gate
    stays shut. Pass model_comp_task_id, or narrow the choice down by name or created_after. This
    task fails, and is not tried again (QianfanTaskAmbiguousError).
ERROR QianfanTaskAmbiguousError: 2 model compression tasks are under way at once: amva-2 ('second'),
    running, created 2026-01-31T08:01:30+00:00, config {"strategy": "Sparse"}; amva-1 ('first'),
    running, created 2026-01-31T08:00:00+00:00, config {"strategy": "Quantization", "weight":
    "INT8-PTQ"}. The gate stays shut. Pass model_comp_task_id, or narrow the choice down by name or
    created_after.
"""
    )


def test_a_near_miss_of_created_after(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    emulator.world.tasks.add(
        TaskSpec(SOURCE, id="amva-1", name="demo", status="succeeded", model_id="amv-made00000001")
    )

    assert (
        lines_of(dag_runner, mode, created_after="2026-01-31T08:00:03Z", timeout=0.3)
        == """\
INFO Waiting: no task matches yet (source model amv-source000001, created at or after
    2026-01-31T08:00:03+00:00). Next look in 0 seconds.
WARNING No task matches yet: 1 task of source model amv-source000001 (1 succeeded); nearest: amva-1
    ('demo') was created 3 seconds before created_after.
ERROR Timed out after … (timeout); the gate stays shut. Last seen: no task matches yet (source model
    amv-source000001, created at or after 2026-01-31T08:00:03+00:00). Healthy answers: the last one
    was … ago. This task fails, and is not tried again (AirflowSensorTimeout).
ERROR AirflowSensorTimeout: Timed out after … (timeout); the gate stays shut. Last seen: no task
    matches yet (source model amv-source000001, created at or after 2026-01-31T08:00:03+00:00).
    Healthy answers: the last one was … ago.
"""
    )


def test_a_wrong_key(emulator: EmulatorServer, dag_runner: DagRunner, mode: str) -> None:
    secret = emulator.world.account.secret_access_key
    emulator.world.account.secret_access_key = "another-secret-access-key"

    assert (
        lines_of(dag_runner, mode)
        == """\
ERROR Connection 'qianfan_default' is refused. DescribeModelCompTasks: HTTP 400
    SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match (request id …). Check
    the connection's Secret Access Key (password): it must belong to its Access Key ID (login). This
    try fails (QianfanAuthError).
ERROR QianfanAuthError: Connection 'qianfan_default' is refused. DescribeModelCompTasks: HTTP 400
    SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match (request id …). Check
    the connection's Secret Access Key (password): it must belong to its Access Key ID (login).
"""
    )
    assert secret not in dag_runner.log
    assert "bce-auth-v1" not in dag_runner.log
