"""
The cells of the parity table: what the platform does, and what the gate must make of it.

Read by the test, which plays the platform, and by the DAG file, which waits for it. Each cell has an emulator
and a connection of its own. Its tasks and faults begin when the first look has been taken, so that all wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MADE = "amv-made00000001"
# In the two modes that give their slot back, an interval is longer than a busy scheduler takes for a round:
# Airflow takes a task that is queued again before its last executor event was read for one that was killed,
# and uses up a try.
MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False, "poke_interval": 4},
    "reschedule": {"mode": "reschedule", "poke_interval": 20},
    "deferrable": {"deferrable": True, "poke_interval": 20},
}

RUNNING = {"after": 0, "status": "running"}


@dataclass(frozen=True)
class End:
    """
    How a cell ends.

    :param state: without ``soft_fail``.
    :param soft: with ``soft_fail``; default: as without.
    :param error: the class of the exception.
    :param xcoms: the keys.
    :param tries: of the two that the task has.
    """

    state: str
    error: str | None = None
    soft: str | None = None
    xcoms: tuple[str, ...] = ()
    tries: int = 1


OPEN = End("success", xcoms=("modelId", "model_comp_task", "return_value"))
TIMEOUT = End("failed", "AirflowSensorTimeout", soft="skipped")


def verdict(error: str, *, task: bool = True) -> End:
    """A verdict: final, and skipped under ``soft_fail``."""
    return End("failed", error, soft="skipped", xcoms=("model_comp_task",) if task else ())


def trouble(error: str) -> End:
    """No verdict: retried, and failed under ``soft_fail``, too."""
    return End("failed", error, tries=2)


@dataclass(frozen=True)
class Row:
    """
    A row of the table.

    :param end: in every mode, but for those in ``but``.
    :param tasks: the emulator's, as in a scenario.
    :param faults: the emulator's, as in a scenario.
    :param arguments: of the sensor.
    :param but: how the modes end that cannot be equal.
    """

    name: str
    end: End
    tasks: tuple[dict[str, Any], ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    but: dict[str, End] = field(default_factory=dict)

    def end_in(self, mode: str) -> End:
        return self.but.get(mode, self.end)


def ends(status: str, **more: Any) -> tuple[dict[str, Any], ...]:
    """One task, which runs first."""
    return ({"timeline": [RUNNING, {"after": 6, "status": status, **more}]},)


SUCCEEDS = ends("succeeded", model_id=MADE)
RUNS = ({"status": "running"},)

ROWS = (
    # what the task is
    Row("absent", TIMEOUT, arguments={"timeout": 20}),
    Row("creating, running, succeeded", OPEN, SUCCEEDS),
    Row("stopping, stopped", verdict("QianfanTaskFailedError"), ends("stopped")),
    Row(
        "an unknown status, succeeded",
        OPEN,
        (
            {
                "timeline": [
                    {"after": 0, "status": "running", "set": {"status": "paused"}},
                    {"after": 6, "status": "succeeded", "model_id": MADE},
                ]
            },
        ),
    ),
    Row("succeeded", OPEN, ({"status": "succeeded", "model_id": MADE},)),
    Row("succeeded, no modelId", verdict("QianfanModelIdMissingError"), ends("succeeded")),
    Row(
        "succeeded, modelId only in the detail",
        OPEN,
        ends("succeeded", model_id=MADE, in_list={"omit": ["modelId"]}),
    ),
    Row("failed", verdict("QianfanTaskFailedError"), ends("failed", failed_reason="no data")),
    Row(
        "two running", verdict("QianfanTaskAmbiguousError", task=False), (*RUNS, {**RUNS[0], "created": -60})
    ),
    Row(
        "a given id that is not there",
        verdict("QianfanTaskNotFoundError", task=False),
        arguments={"model_comp_task_id": "amva-missing00001", "settle": 5},
    ),
    # what happens while waiting
    Row("503 twice", OPEN, SUCCEEDS, ({"calls": [1, 2], "server_error": 503},)),
    Row("429 with Retry-After", OPEN, SUCCEEDS, ({"calls": [1], "rate_limit": True, "retry_after": 3},)),
    Row("an answer that is cut", OPEN, SUCCEEDS, ({"calls": [1], "truncated_body": "content_length"},)),
    Row("a gateway's page", OPEN, SUCCEEDS, ({"calls": [1], "not_json": True, "status": 404},)),
    Row("the platform away for long", OPEN, SUCCEEDS, ({"until": 25, "server_error": 502},)),
    Row("a clock that is wrong", OPEN, SUCCEEDS, ({"skew": 7200},)),
    Row(
        "a platform that stays away",
        trouble("QianfanTransientError"),
        RUNS,
        ({"server_error": 502},),
        arguments={"max_unhealthy": 15, "timeout": 40},
        but={"reschedule": TIMEOUT},  # it keeps no memory
    ),
    Row("a wrong key", trouble("QianfanAuthError"), RUNS, arguments={"key": "wrong"}),
    Row(
        "another error",
        trouble("QianfanAPIError"),
        RUNS,
        ({"status": 400, "body": {"requestId": "r", "code": "InappropriateJSON"}},),
    ),
    Row(
        "a list that never ends", trouble("QianfanProtocolError"), RUNS, ({"endless_paging": "same_marker"},)
    ),
    Row("the legacy form of an error", trouble("QianfanAPIError"), RUNS, ({"legacy_error": 6},)),
    # time
    Row("timeout", TIMEOUT, RUNS, arguments={"timeout": 20}),
    Row(
        "execution_timeout",
        trouble("AirflowTaskTimeout"),
        RUNS,
        arguments={"execution_timeout": 18, "timeout": 40},
        but={"reschedule": TIMEOUT},  # Airflow's does not count the waiting
    ),
    Row("success before the last look", OPEN, SUCCEEDS, arguments={"timeout": 25, "poke_interval": 30}),
)


@dataclass(frozen=True)
class Cell:
    """One sensor: a row, in a mode, with ``soft_fail`` or without."""

    row: Row
    mode: str
    soft_fail: bool

    @property
    def task_id(self) -> str:
        return f"row{ROWS.index(self.row):02}_{self.mode}_{'soft' if self.soft_fail else 'hard'}"

    @property
    def end(self) -> End:
        return self.row.end_in(self.mode)

    @property
    def state(self) -> str:
        return self.end.soft or self.end.state if self.soft_fail else self.end.state

    @property
    def error(self) -> str | None:
        # Airflow gives the callback of a skipped task no exception.
        return "NoneType" if self.state == "skipped" else self.end.error


CELLS = [Cell(row, mode, soft_fail) for row in ROWS for mode in MODES for soft_fail in (False, True)]
SOURCE = "amv-source000001"
