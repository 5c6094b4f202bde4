"""
The cells of the parity table: what the platform does, and how the gate must react.

The test reads them to play the platform, and the DAG file reads them to wait for it. Each cell has its own
emulator and connection. Its tasks and faults begin after the first look, so that every gate waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tests.dag_runs import AIRFLOW_3
from tests.faults.proxy import DROP, HANG, Mode, cut, reset

SOURCE = "amv-source000001"
MADE = "amv-made00000001"
LIST = "DescribeModelCompTasks"
# In reschedule mode an interval is longer than a busy scheduler takes for a round: Airflow takes a task that
# is queued again before its last executor event was read for one that was killed, and uses up a try. In
# deferrable mode the trigger sees to that.
MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False, "poke_interval": 4},
    "reschedule": {"mode": "reschedule", "poke_interval": 20},
    "deferrable": {"deferrable": True, "poke_interval": 4},
}

RUNNING = {"after": 0, "status": "running"}


@dataclass(frozen=True)
class End:
    """
    How a cell ends.

    :param state: without ``soft_fail``.
    :param soft: with ``soft_fail``; default: as without.
    :param error: the class of the exception.
    :param says: a regular expression that is found in its message.
    :param xcoms: the keys.
    :param tries: of the two that the task has.
    """

    state: str
    error: str | None = None
    soft: str | None = None
    says: str = ""
    xcoms: tuple[str, ...] = ()
    tries: int = 1


OPEN = End("success", xcoms=("modelId", "model_comp_task", "return_value"))


def told(limit: str, last_seen: str, healthy: str = "the last one was .* ago") -> str:
    """What a timeout says: which, what was seen last, and when."""
    return rf"Timed out after .* \({limit}\); .* Last seen: {last_seen}\. Healthy answers: {healthy}\."


def timeout(*seen: str, tries: int = 1) -> End:
    """The sensor's timeout: final, and skipped under ``soft_fail``."""
    says = told("timeout", *seen)
    return End("failed", "AirflowSensorTimeout", soft="skipped", says=says, tries=tries)


def execution_timeout(*seen: str) -> End:
    """Airflow's timeout: retried, and failed under ``soft_fail``, too."""
    return End("failed", "AirflowTaskTimeout", says=told("execution_timeout", *seen), tries=2)


def verdict(error: str, *, task: bool = True) -> End:
    """A verdict: final, and skipped under ``soft_fail``."""
    return End("failed", error, soft="skipped", xcoms=("model_comp_task",) if task else ())


def trouble(error: str) -> End:
    """No verdict: retried, and failed under ``soft_fail``, too."""
    return End("failed", error, tries=2)


@dataclass(frozen=True)
class Row:
    """
    A row of the table. Everything that happens begins after the first look.

    :param end: in every mode, but for those in ``but``.
    :param tasks: the emulator's, as in a scenario.
    :param faults: the emulator's, as in a scenario.
    :param wire: what happens to the next connections, below HTTP.
    :param away: seconds for which nobody listens.
    :param connection: what happens to the Airflow connection: its key never worked; it was replaced by
        another on the platform, and, when the old one has been refused, in Airflow; or Airflow has no such
        connection for 25 seconds.
    :param arguments: of the sensor; spans of time in seconds.
    :param but: how the modes end that cannot be equal.
    """

    name: str
    end: End
    tasks: tuple[dict[str, Any], ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    wire: tuple[Mode, ...] = ()
    away: float = 0.0
    connection: Literal["", "wrong key", "rotated key", "lost"] = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    but: dict[str, End] = field(default_factory=dict)

    def end_in(self, mode: str) -> End:
        return self.but.get(mode, self.end)


def ends(status: str, **more: Any) -> tuple[dict[str, Any], ...]:
    """One task, which runs first."""
    return ({"timeline": [RUNNING, {"after": 6, "status": status, **more}]},)


def refused(code: str, status: int = 400, **when: Any) -> tuple[dict[str, Any], ...]:
    """A documented error."""
    return ({"status": status, "body": {"requestId": "r-1", "code": code}, **when},)


SUCCEEDS = ends("succeeded", model_id=MADE)
RUNS = ({"status": "running"},)
RUNNING_SEEN = r"amva-\w+ \('amva-\w+'\) is running"
# The list knows of a success that the detail action denies: the trigger calls the sensor, which goes on
# waiting.
DENIED = {"after": 6, "status": "succeeded", "in_detail": {"set": {"status": "running"}}}

# Airflow 2.11 itself ends what is deferred when execution_timeout is over, and does not say what was seen.
UNSAID = {} if AIRFLOW_3 else {"deferrable": End("failed", "AirflowTaskTimeout", tries=2)}

ROWS = (
    # what the task is
    Row(
        "absent", timeout(r"no task matches yet \(source model amv-source000001\)"), arguments={"timeout": 20}
    ),
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
        "succeeded, modelId of the source",
        verdict("QianfanModelIdMissingError"),
        ends("succeeded", model_id=SOURCE),
    ),
    Row(
        "succeeded, modelId only in the detail",
        OPEN,
        ends("succeeded", model_id=MADE, in_list={"omit": ["modelId"]}),
    ),
    Row(
        "succeeded in the list, running in the detail, succeeded",
        OPEN,
        ({"timeline": [RUNNING, DENIED, {"after": 30, "status": "succeeded", "model_id": MADE}]},),
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
    Row(
        "a given id of another source model",
        verdict("QianfanTaskNotFoundError"),
        ({"id": "amva-other0000001", "source_model_id": "amv-other0000001", "status": "running"},),
        arguments={"model_comp_task_id": "amva-other0000001"},
    ),
    # what happens while waiting
    Row("503 twice", OPEN, SUCCEEDS, ({"calls": [1, 2], "server_error": 503},)),
    Row("429 with Retry-After", OPEN, SUCCEEDS, ({"calls": [1], "rate_limit": True, "retry_after": 3},)),
    Row("an answer that is cut", OPEN, SUCCEEDS, ({"calls": [1], "truncated_body": "content_length"},)),
    Row("an empty answer", OPEN, SUCCEEDS, ({"calls": [1], "empty_body": True},)),
    Row("a gateway's page", OPEN, SUCCEEDS, ({"calls": [1], "not_json": True, "status": 404},)),
    Row("the platform away for long", OPEN, SUCCEEDS, ({"until": 25, "server_error": 502},)),
    Row("nobody listens for long", OPEN, SUCCEEDS, away=25),
    Row(
        "connections reset, dropped and cut",
        OPEN,
        SUCCEEDS,
        wire=(reset(), DROP, cut(60), reset(20), DROP, cut(10)),
    ),
    Row("answers that do not come", OPEN, SUCCEEDS, wire=(HANG,) * 5),
    Row(
        "a platform that stays away",
        trouble("QianfanTransientError"),
        RUNS,
        ({"server_error": 502},),
        arguments={"max_unhealthy": 15, "timeout": 200},
        # It keeps no memory.
        but={"reschedule": timeout("nothing", "not known, as nothing is remembered between two looks")},
    ),
    Row("a clock that is wrong", OPEN, SUCCEEDS, ({"skew": 7200},)),
    Row("a clock that no correction helps", trouble("QianfanAPIError"), RUNS, refused("RequestExpired", 403)),
    Row(
        "a page's marker that went bad",
        OPEN,
        (*SUCCEEDS, {"repeat": {"count": 120}, "created": -86400, "status": "failed"}),
        refused("InvalidMarker", action=LIST, calls=[2]),
    ),
    Row("a wrong key", trouble("QianfanAuthError"), RUNS, connection="wrong key"),
    Row("a key that is rotated", OPEN, SUCCEEDS, connection="rotated key"),
    Row(
        "a key that is refused for too long",
        trouble("QianfanAuthError"),
        RUNS,
        refused("AccessDenied", 403),
        arguments={"auth_grace": 5},
    ),
    Row("an Airflow connection that is lost for a while", OPEN, SUCCEEDS, connection="lost"),
    Row("another error", trouble("QianfanAPIError"), RUNS, refused("InappropriateJSON")),
    Row(
        "a list that never ends",
        trouble("QianfanProtocolError"),
        RUNS,
        ({"endless_paging": "missing_marker"},),
    ),
    Row("the legacy form of an error", trouble("QianfanAPIError"), RUNS, ({"legacy_error": 6},)),
    # time
    Row("timeout", timeout(RUNNING_SEEN), RUNS, arguments={"timeout": 20}),
    Row(
        "timeout on a retry",
        timeout(RUNNING_SEEN, tries=2),
        RUNS,
        # Over when the second try begins.
        refused("InappropriateJSON", until=90),
        arguments={"timeout": 25, "retry_delay": 100},
    ),
    Row(
        "timeout after a look that changed nothing",
        timeout(RUNNING_SEEN),
        ({"timeline": [RUNNING, DENIED]},),
        arguments={"timeout": 48},
    ),
    Row(
        "execution_timeout",
        execution_timeout(RUNNING_SEEN),
        RUNS,
        arguments={"execution_timeout": 18, "timeout": 40},
        but={"reschedule": timeout(RUNNING_SEEN), **UNSAID},  # Airflow's does not count the waiting
    ),
    Row(
        "execution_timeout after a look that changed nothing",
        execution_timeout(RUNNING_SEEN),
        ({"timeline": [RUNNING, DENIED]},),
        arguments={"execution_timeout": 48, "timeout": 65},
        but={"reschedule": timeout(RUNNING_SEEN), **UNSAID},
    ),
    Row("success before the last look", OPEN, SUCCEEDS, arguments={"timeout": 25, "poke_interval": 30}),
)


@dataclass(frozen=True, eq=False)
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
