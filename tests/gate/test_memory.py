from __future__ import annotations

import json
import logging
import re
from contextlib import nullcontext
from dataclasses import asdict, replace
from socket import gethostname

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.gate.memory import (
    Health,
    Limits,
    Line,
    Memory,
    Observer,
    Run,
    after_failure,
    after_look,
    backoff,
    excuse,
    failure_from_json,
    failure_to_json,
    interval_after,
    timeout_message,
)
from airflow_provider_qianfan.gate.verdict import Note, Open, Wait
from tests.gate.tasks import NOW, made

RUNNING = Wait("amva-1 is running", selected="amva-1")
LIMITS = Limits(max_unhealthy=3600, auth_grace=600)
LOST = QianfanTransientError("DescribeModelCompTasks", "HTTP 503")
REFUSED = QianfanAuthError("DescribeModelCompTasks", code="AccessDenied", http_status=403)
UNUSABLE = QianfanConfigurationError("HTTPS_PROXY is not the URL of a proxy.")
TO_BE_CORRECTED = pytest.mark.parametrize(
    "error", [pytest.param(REFUSED, id="refused key"), pytest.param(UNUSABLE, id="unusable settings")]
)
RUN = Run(Observer.WORKER, began=NOW - 86400)
HERE = f"the worker on {gethostname()}"
HEALTHY = Memory(
    started=NOW - 86400,
    worker=Health(healthy_at=NOW),
    last_healthy=NOW,
    state="amva-1 is running",
    said="amva-1 is running",
    spoke=NOW - 60,
)


def looks(*verdicts: tuple[float, Wait]) -> list[tuple[float, str]]:
    """The lines of looks that were taken so many seconds after the first."""
    memory, told = Memory(started=NOW), []
    for after, verdict in verdicts:
        memory, lines = after_look(memory, verdict, NOW + after, next_look_in=60, observer=Observer.WORKER)
        told += [(after, line.text) for line in lines]
    return told


def test_a_line_per_change_of_state_and_one_per_ten_minutes() -> None:
    creating = Wait("amva-1 is creating")

    told = looks((0, creating), *((60.0 * minute, RUNNING) for minute in range(1, 25)))

    assert told == [
        (0, "Waiting: amva-1 is creating. Next look in 1 minute."),
        (60, "Waiting: amva-1 is running. Next look in 1 minute."),
        (660, "Still waiting after 11 minutes: amva-1 is running. Next look in 1 minute."),
        (1260, "Still waiting after 21 minutes: amva-1 is running. Next look in 1 minute."),
    ]


def test_a_note_is_given_once_or_again_after_its_time() -> None:
    wait = Wait("state", (Note("once", "Once."), Note("hourly", "Hourly.", 3600)))

    told = [
        (after, text) for after, text in looks((0, wait), (3599, wait), (3600, wait)) if "ait" not in text
    ]

    assert told == [(0, "Once."), (0, "Hourly."), (3600, "Hourly.")]


def test_notes_are_warnings() -> None:
    _, lines = after_look(Memory(NOW), Wait("state", (Note("once", "Once."),)), NOW, 60, Observer.WORKER)

    assert lines == [
        Line(logging.INFO, "Waiting: state. Next look in 1 minute."),
        Line(logging.WARNING, "Once."),
    ]


def test_the_line_of_a_wait_that_goes_on_comes_before_its_notes() -> None:
    memory = Memory(NOW, said="state", spoke=NOW)
    wait = Wait("state", (Note("once", "Once."),))
    _, early = after_look(memory, wait, NOW + 599, 60, observer=Observer.WORKER)
    _, lines = after_look(memory, wait, NOW + 600, 60, observer=Observer.WORKER)

    assert early == [Line(logging.WARNING, "Once.")]
    assert lines == [
        Line(logging.INFO, "Still waiting after 10 minutes: state. Next look in 1 minute."),
        Line(logging.WARNING, "Once."),
    ]


def test_notes_do_not_grow_without_end() -> None:
    memory = Memory(NOW)
    for number in range(200):
        memory, _ = after_look(memory, Wait("state", (Note(f"n{number}", "."),)), NOW, 60, Observer.WORKER)

    assert len(memory.noted) == 50
    assert "n199" in memory.noted


def test_a_healthy_look_is_remembered() -> None:
    ill = Health(lost_since=NOW, refused_since=NOW, unusable_since=NOW, got="HTTP 503", excused=True)
    memory = Memory(NOW, worker=ill, triggerer=ill)
    memory, _ = after_look(memory, RUNNING, NOW + 5, 60, observer=Observer.WORKER)

    assert memory == Memory(
        NOW,
        worker=Health(healthy_at=NOW + 5),
        triggerer=ill,
        last_healthy=NOW + 5,
        state="amva-1 is running",
        said="amva-1 is running",
        selected="amva-1",
        spoke=NOW + 5,
    )


def test_since_when_something_is_missing() -> None:
    absent = Wait("amva-1 is not there yet", absent="amva-1")
    memory, _ = after_look(Memory(NOW), absent, NOW + 1, 60, observer=Observer.WORKER)
    memory, _ = after_look(memory, absent, NOW + 2, 60, observer=Observer.WORKER)
    assert (memory.missing_since("amva-1"), memory.missing_since("amva-2")) == (NOW + 1, None)

    other = Wait("model version amv-1 is not there yet", absent="amv-1")
    memory, _ = after_look(memory, other, NOW + 3, 60, observer=Observer.WORKER)
    assert (memory.missing_since("amva-1"), memory.missing_since("amv-1")) == (None, NOW + 3)

    memory, _ = after_look(memory, RUNNING, NOW + 4, 60, observer=Observer.WORKER)
    assert memory.missing_since("amv-1") is None


def test_an_earlier_version_does_not_say_what_is_missing() -> None:
    assert Memory(NOW, absent_since=NOW + 1).missing_since("amva-1") == NOW + 1


def test_the_task_that_counted_is_remembered_while_none_does() -> None:
    memory, _ = after_look(
        Memory(NOW, selected="amva-1"),
        Wait("amva-1 is not there yet", absent="amva-1"),
        NOW,
        60,
        observer=Observer.WORKER,
    )

    assert memory.selected == "amva-1"


def test_the_last_look_gives_its_notes_but_no_state() -> None:
    _, lines = after_look(Memory(NOW), Open(made(), (Note("n", "Note."),)), NOW, 60, Observer.WORKER)

    assert [line.text for line in lines] == ["Note."]


def fail_for(
    error: QianfanError, *seconds: float, memory: Memory = HEALTHY, run: Run = RUN
) -> list[tuple[float, str]]:
    """The lines of looks that failed so many seconds after the last healthy one."""
    told = []
    for after in seconds:
        memory, lines = after_failure(memory, error, NOW + after, LIMITS, run)
        told += [(after, line.text) for line in lines]
    return told


def test_a_lost_platform_is_told_at_once_and_every_five_minutes() -> None:
    told = fail_for(LOST, *range(60, 720, 60))

    assert [after for after, _ in told] == [60, 360, 660]
    assert told[1][1] == (
        "The platform gave no healthy answer (the last one was 6 minutes ago); looking again."
        " DescribeModelCompTasks: HTTP 503."
    )


@pytest.mark.parametrize(
    ("memory", "sent", "level"),
    [
        (Memory(NOW), False, logging.ERROR),
        (Memory(NOW), True, logging.WARNING),  # it got there, so the settings are right
        (HEALTHY, False, logging.WARNING),
        (Memory(NOW, forgetful=True), False, logging.WARNING),  # earlier looks may have been healthy
        (Memory(NOW, worker=Health(lost_since=NOW)), False, logging.WARNING),  # it may have got a 503
    ],
)
def test_a_platform_that_was_never_reached_is_an_error(memory: Memory, sent: bool, level: int) -> None:
    refused = QianfanTransientError("Describe", "connection refused", sent=sent)
    _, (line,) = after_failure(memory, refused, NOW + 1, LIMITS, Run(Observer.WORKER, NOW))

    assert line.level == level
    assert "connection refused." in line.text
    assert line.text.endswith("Check the connection's host and proxy.") == (level == logging.ERROR)


@pytest.mark.parametrize("error", [LOST, QianfanRateLimitError("Describe", code="Busy", http_status=429)])
def test_a_lost_platform_fails_the_wait_after_max_unhealthy(error: QianfanError) -> None:
    fail_for(error, 10, 3609)
    with pytest.raises(
        QianfanTransientError, match=r"^Waiting for .* for 1 hour \(max_unhealthy\).*Describe"
    ):
        fail_for(error, 10, 3610)


@pytest.mark.parametrize(
    ("error", "level", "said"),
    [
        (LOST, logging.WARNING, "the platform gives no healthy answer"),
        (REFUSED, logging.ERROR, "the key is refused"),
        (UNUSABLE, logging.ERROR, "the settings cannot be used"),
    ],
)
def test_a_failed_look_is_loud(error: QianfanError, level: int, said: str) -> None:
    memory, (line,) = after_failure(HEALTHY, error, NOW, LIMITS, RUN)

    assert line.level == level
    assert memory.said == said


def test_another_kind_of_failure_is_told_at_once() -> None:
    memory, _ = after_failure(HEALTHY, LOST, NOW + 60, LIMITS, RUN)
    memory, refused = after_failure(memory, REFUSED, NOW + 61, LIMITS, RUN)
    _, lost = after_failure(memory, LOST, NOW + 62, LIMITS, RUN)

    assert len(refused + lost) == 2


def test_a_platform_that_never_answered_counts_from_the_first_look() -> None:
    fail_for(LOST, 0, 3599, memory=Memory(NOW), run=Run(Observer.WORKER, NOW))
    with pytest.raises(QianfanTransientError):
        fail_for(LOST, 0, 3600, memory=Memory(NOW), run=Run(Observer.WORKER, NOW))


def test_the_time_between_two_looks_is_no_outage() -> None:
    """The intervals of a wait may grow to an hour. The first failed look after such a pause ends nothing."""
    ((_, told),) = fail_for(LOST, 7200)

    assert "the last one was 2 hours ago" in told


@TO_BE_CORRECTED
def test_what_never_worked_fails_at_once(error: QianfanError) -> None:
    with pytest.raises(type(error)):
        fail_for(error, 0, memory=Memory(NOW))


@pytest.mark.parametrize(
    ("error", "trouble"), [(REFUSED, "The key is refused"), (UNUSABLE, "The settings cannot be used")]
)
def test_what_worked_has_a_grace(error: QianfanError, trouble: str) -> None:
    told = fail_for(error, 60, 120, 360, 659)

    assert [after for after, _ in told] == [60, 360]
    assert told[1][1] == (
        f"{trouble}; reading the connection again, failing in 5 minutes unless that helps. {error}"
    )
    with pytest.raises(type(error)):
        fail_for(error, 60, 660)


@TO_BE_CORRECTED
def test_the_grace_begins_anew_after_a_healthy_look(error: QianfanError) -> None:
    memory, _ = after_failure(HEALTHY, error, NOW + 60, LIMITS, RUN)
    memory, _ = after_look(memory, RUNNING, NOW + 500, 60, observer=Observer.WORKER)
    fail_for(error, 700, memory=memory)


def test_a_refused_key_and_unusable_settings_have_a_grace_each() -> None:
    memory, _ = after_failure(HEALTHY, REFUSED, NOW + 60, LIMITS, RUN)
    memory, _ = after_failure(memory, UNUSABLE, NOW + 600, LIMITS, RUN)
    fail_for(UNUSABLE, 1199, memory=memory)
    with pytest.raises(QianfanAuthError):
        fail_for(REFUSED, 660, memory=memory)


SEES = replace(HEALTHY, last_healthy=NOW + 86400, triggerer=Health(healthy_at=NOW + 86400))
"""A day after the worker's look, of which the triggerer has had healthy answers."""
RESUMED = Run(Observer.WORKER, began=NOW + 86400)


def test_a_worker_that_comes_back_after_a_day_has_not_been_blind_for_a_day() -> None:
    told = fail_for(LOST, 86410, 86410 + 3599, memory=SEES, run=RESUMED)

    assert "none in this worker; elsewhere the last one was 10 seconds ago" in told[0][1]
    assert "none in this worker for 59 minutes 59 seconds; elsewhere" in told[1][1]
    with pytest.raises(QianfanTransientError, match=rf"for 1 hour \(max_unhealthy\) in {HERE}\. The last"):
        fail_for(LOST, 86410, 86410 + 3600, memory=SEES, run=RESUMED)


def test_a_blind_worker_is_not_excused_by_a_triggerer_that_sees() -> None:
    memory, _ = after_failure(SEES, LOST, NOW + 86400, LIMITS, RESUMED)
    for minute in range(1, 60):
        memory, _ = after_look(memory, RUNNING, NOW + 86400 + 60 * minute, 60, observer=Observer.TRIGGERER)
    resumed_again = Run(Observer.WORKER, began=NOW + 86400 + 3600)
    with pytest.raises(QianfanTransientError, match="for 1 hour"):
        after_failure(memory, LOST, NOW + 86400 + 3600, LIMITS, resumed_again)


@pytest.mark.parametrize(
    ("late", "counts_on"), [(0, True), (600, True), (601, False)], ids=["in time", "queued", "not needed"]
)
def test_a_worker_that_was_not_needed_meanwhile_has_not_been_blind(late: float, counts_on: bool) -> None:
    blind = Health(NOW - 60, lost_since=NOW, refused_since=NOW, unusable_since=NOW, again_at=NOW + 3600)
    memory = replace(SEES, worker=blind)
    run = Run(Observer.WORKER, began=NOW + 3600 + late)
    for error in (LOST, REFUSED, UNUSABLE):
        with pytest.raises(type(error)) if counts_on else nullcontext():
            anew, _ = after_failure(memory, error, run.began, LIMITS, run)
            assert anew.worker.healthy_at == NOW - 60


@TO_BE_CORRECTED
def test_the_grace_of_one_observer_is_not_that_of_the_other(error: QianfanError) -> None:
    memory, _ = after_failure(SEES, error, NOW + 86400, LIMITS, RESUMED)
    moved = Run(Observer.TRIGGERER, began=NOW + 86400)
    fail_for(error, 86400 + 600, memory=memory, run=moved)
    with pytest.raises(
        type(error), match=rf"in {HERE}, now for 10 minutes \(auth_grace\)\. {re.escape(str(error))}"
    ):
        fail_for(error, 86400 + 600, memory=memory, run=RESUMED)


@pytest.mark.parametrize("observer", Observer)
@pytest.mark.parametrize("error", [LOST, REFUSED, UNUSABLE])
def test_what_was_overlooked_once_ends_the_wait_the_next_time(
    error: QianfanError, observer: Observer
) -> None:
    ill = Health(lost_since=NOW, refused_since=NOW, unusable_since=NOW, excused=True)
    excused = HEALTHY.with_health(observer, ill)
    run = Run(observer, began=NOW)
    with pytest.raises(type(error)):
        fail_for(error, 60, memory=excused, run=run)
    well, _ = after_look(excused, RUNNING, NOW + 30, 60, observer=observer)
    fail_for(error, 60, memory=well, run=run)


@pytest.mark.parametrize("error", [LOST, REFUSED, UNUSABLE])
def test_what_is_overlooked_is_noted(error: QianfanError) -> None:
    """A run may end before it notes what it met."""
    run = Run(Observer.TRIGGERER, began=NOW)
    since = Health(lost_since=NOW - 9, refused_since=NOW - 9, unusable_since=NOW - 9)
    for health in (Health(), since):
        memory = HEALTHY.with_health(Observer.TRIGGERER, excuse(health, error, NOW))
        assert memory.triggerer.failing_since == (since.failing_since if health is since else NOW)
        with pytest.raises(type(error)):
            fail_for(error, 60, memory=memory, run=run)


@pytest.mark.parametrize("observer", Observer)
@pytest.mark.parametrize(
    ("error", "ill"),
    [
        (LOST, Health(refused_since=NOW, unusable_since=NOW, excused=True)),
        (REFUSED, Health(lost_since=NOW, unusable_since=NOW, excused=True)),
        (UNUSABLE, Health(lost_since=NOW, refused_since=NOW, excused=True)),
    ],
)
def test_after_one_trouble_was_overlooked_another_has_its_own_time(
    error: QianfanError, ill: Health, observer: Observer
) -> None:
    run = Run(observer, began=NOW)
    memory, _ = after_failure(HEALTHY.with_health(observer, ill), error, NOW + 60, LIMITS, run)

    assert not memory.health_of(observer).excused
    with pytest.raises(type(error)):
        fail_for(error, 3600 + 60, memory=memory, run=run)


@pytest.mark.parametrize(
    ("elapsed", "longest", "interval"),
    [(0, None, 60), (9999, None, 60), (0, 600, 60), (90, 600, 90), (9999, 600, 600), (9999, 30, 60)],
)
def test_intervals_grow_if_they_may(elapsed: float, longest: float | None, interval: float) -> None:
    assert interval_after(elapsed, 60, longest) == interval


def test_an_observer_that_fails_is_left_alone_for_as_long_as_it_has_failed() -> None:
    lost = Health(lost_since=NOW)

    pauses = {after: backoff(lost, NOW + after, LIMITS) for after in (0, 60, 590, 700, 3500, 3600, 9999)}

    assert pauses == {0: 0, 60: 60, 590: 590, 700: 600, 3500: 100, 3600: 0, 9999: 0}
    assert backoff(Health(healthy_at=NOW - 60), NOW, LIMITS) == 0
    assert backoff(Health(refused_since=NOW), NOW + 400, LIMITS) == 200
    assert backoff(Health(unusable_since=NOW, lost_since=NOW - 300), NOW + 400, LIMITS) == 200


@pytest.mark.parametrize(
    ("error", "attributes"),
    [
        (LOST, {"action": "Waiting for the platform"}),
        (
            QianfanAuthError("Describe", code="InvalidAccessKeyId", http_status=401),
            {"action": "Waiting for the platform", "code": "InvalidAccessKeyId", "http_status": 401},
        ),
        (UNUSABLE, {}),
    ],
)
def test_what_a_run_ended_with_survives_json(error: QianfanError, attributes: dict[str, object]) -> None:
    run = Run(Observer.TRIGGERER, NOW)
    read = failure_from_json(json.loads(json.dumps(failure_to_json(error, run))))

    assert read
    assert type(read) is type(error)
    assert str(read) == f"In the triggerer on {gethostname()}: {error}"
    assert vars(read).items() >= attributes.items()
    assert failure_to_json(read, run) == failure_to_json(error, run)


def test_a_failure_of_the_request_is_not_told_to_the_other_observer() -> None:
    error = QianfanAPIError("Describe", code="InappropriateJSON")
    assert failure_to_json(error, RUN) is None


@pytest.mark.parametrize("value", [None, [], {}, {"kind": "hungry"}, "lost", {"kind": ["lost"]}])
def test_what_another_version_ended_with(value: object) -> None:
    assert failure_from_json(value) is None


@pytest.mark.parametrize("kind", ["lost", "refused", "unusable"])
def test_what_another_version_tells_is_escaped(kind: str) -> None:
    read = failure_from_json({"kind": kind, "text": "a\nb\x1b[31m" + "x" * 2000, "status": "x"})

    assert str(read) == r"a\nb\x1b[31m" + "x" * 1992 + "…"
    assert getattr(read, "http_status", 403) == 403


def test_a_wait_that_keeps_no_memory_is_bounded_by_its_timeout_alone() -> None:
    day = 86400.0
    forgetful = Memory(NOW, forgetful=True)
    _, (line,) = after_failure(forgetful, LOST, NOW + day, LIMITS, RUN)
    assert "(not known, as nothing is remembered between two looks)" in line.text
    assert "Healthy answers: not known" in timeout_message(forgetful, NOW + day, "timeout")
    answered = replace(forgetful, last_healthy=NOW + day)
    assert "Healthy answers: the last one was 0 seconds ago" in timeout_message(
        answered, NOW + day, "timeout"
    )


@TO_BE_CORRECTED
def test_the_grace_of_a_wait_that_keeps_no_memory_counts_from_the_first_look(error: QianfanError) -> None:
    forgetful = Memory(NOW, forgetful=True)
    fail_for(error, 599, memory=forgetful)
    with pytest.raises(type(error)):
        fail_for(error, 600, memory=forgetful)


@pytest.mark.parametrize(
    "error",
    [
        QianfanAPIError("Describe", code="InappropriateJSON"),
        QianfanProtocolError("the list never ends"),
    ],
)
def test_what_waiting_does_not_help_ends_the_wait(error: QianfanError) -> None:
    with pytest.raises(type(error)):
        fail_for(error, 1)


def test_a_wait_that_keeps_no_memory_takes_no_state_for_a_new_one() -> None:
    _, (line,) = after_look(Memory(NOW, forgetful=True), RUNNING, NOW + 600, 60, observer=Observer.WORKER)

    assert line.text == "Still waiting after 10 minutes: amva-1 is running. Next look in 1 minute."


def test_the_state_is_told_again_after_a_failure() -> None:
    memory, _ = after_failure(HEALTHY, LOST, NOW + 60, LIMITS, RUN)
    _, (line,) = after_look(memory, RUNNING, NOW + 120, 60, observer=Observer.WORKER)

    assert line.text.startswith("Waiting: amva-1 is running.")


def test_the_timeout_tells_the_last_state_and_the_last_healthy_answer() -> None:
    memory, _ = after_failure(HEALTHY, LOST, NOW + 60, LIMITS, RUN)

    assert timeout_message(memory, NOW + 7200, "timeout") == (
        "Timed out after 1 day 2 hours (timeout); the gate stays shut. Last seen: amva-1 is running."
        " Healthy answers: the last one was 2 hours ago."
        f" None for 1 hour 59 minutes in {HERE}: DescribeModelCompTasks: HTTP 503."
    )
    assert timeout_message(Memory(NOW), NOW + 60, "execution_timeout") == (
        "Timed out after 1 minute (execution_timeout); the gate stays shut. Last seen: nothing."
        " Healthy answers: none in the 1 minute since the first look."
    )


ILL = Health(5, 6, 7, 8, "e", True, 9)


@pytest.mark.parametrize(
    "memory",
    [
        replace(HEALTHY, deadline=NOW + 9, absent="amva-1", absent_since=NOW, noted={"absent": NOW}),
        replace(HEALTHY, deadline_is_execution_timeout=True, forgetful=True, selected="amva-1"),
        Memory(1, 2, True, True, "a", "b", "c", 3, 4, ILL, replace(ILL, got="f"), 9, {"absent": 10}, 2, "d"),
    ],
)
def test_a_memory_survives_json(memory: Memory) -> None:
    assert Memory.from_json(json.loads(json.dumps(memory.to_json())), now=0) == memory


@pytest.mark.parametrize("error", [LOST, REFUSED])
def test_a_memory_of_a_failure_survives_json(error: QianfanError) -> None:
    memory, _ = after_failure(HEALTHY, error, NOW + 1, LIMITS, RUN)

    assert Memory.from_json(json.loads(json.dumps(memory.to_json())), now=0) == memory


@pytest.mark.parametrize(
    ("value", "memory"),
    [
        (None, Memory(NOW)),
        ([], Memory(NOW)),
        ({}, Memory(NOW)),
        ({"started": 5, "colour": "red"}, Memory(5)),
        ({"started": 5, "deadline": 6, "last_healthy": 5.5}, Memory(5, deadline=6, last_healthy=5.5)),
        ({"started": "soon", "state": 7, "noted": [], "deadline": "x"}, Memory(NOW)),
        (
            {"started": 5, "worker": {"lost_since": 4, "colour": "red"}},
            Memory(5, worker=Health(lost_since=4)),
        ),
        ({"started": 5, "worker": "ill", "triggerer": {"got": 7, "healthy_at": "x"}}, Memory(5)),
    ],
)
def test_the_memory_of_another_version(value: object, memory: Memory) -> None:
    assert Memory.from_json(value, now=NOW) == memory


def test_what_a_memory_leaves_out_of_its_json() -> None:
    memory = Memory(NOW, spoke=NOW, triggerer=Health(healthy_at=NOW))

    assert Memory(NOW).to_json() == {"started": NOW}
    assert memory.to_json() == {"started": NOW, "spoke": NOW, "triggerer": {"healthy_at": NOW}}


def test_what_is_left_out_means_the_same_in_every_version() -> None:
    """A default that changed would change waits that an earlier version has stored."""
    unseen = {
        "healthy_at": None,
        "lost_since": None,
        "refused_since": None,
        "unusable_since": None,
        "got": "",
        "excused": False,
        "again_at": None,
    }

    assert asdict(Memory.from_json({"started": NOW}, now=0)) == {
        "started": NOW,
        "deadline": None,
        "deadline_is_execution_timeout": False,
        "forgetful": False,
        "state": "",
        "said": "",
        "selected": "",
        "last_healthy": None,
        "absent_since": None,
        "worker": unseen,
        "triggerer": unseen,
        "spoke": 0.0,
        "noted": {},
        "try_number": None,
        "absent": "",
    }


@pytest.mark.parametrize(("deadline", "expired_at"), [(None, float("inf")), (NOW + 9, NOW + 9)])
def test_when_a_memory_expires(deadline: float | None, expired_at: float) -> None:
    assert Memory(NOW, deadline=deadline).expired_at == expired_at


def test_the_documented_limits() -> None:
    assert Limits() == Limits(max_unhealthy=3600, auth_grace=600)


@pytest.mark.parametrize(
    "wrong",
    [
        {"started": 10**400},
        {"started": True},
        {"try_number": True},
        {"try_number": "2"},
        {"deadline": float("nan")},
        {"deadline": float("inf")},
        {"spoke": 10**400},
        {"noted": {"k": "x"}},
        {"noted": {"k": 10**400}},
        {"worker": {"healthy_at": True}},
        {"triggerer": {"lost_since": 10**400}},
    ],
    ids=str,
)
def test_what_can_be_no_time_is_left_out(wrong: dict[str, object]) -> None:
    """A wait of another version goes on; arithmetic with it would fail the task."""
    assert Memory.from_json(wrong, now=NOW) == Memory(started=NOW)


def test_whatever_is_waited_for_the_last_error_does_not_call_it_a_compression() -> None:
    lost = QianfanTransientError("DescribeService", "HTTP 503")

    with pytest.raises(QianfanTransientError) as raised:
        fail_for(lost, 0, LIMITS.max_unhealthy)

    assert "compression" not in str(raised.value)
    assert str(raised.value).startswith(
        "Waiting for the platform: no healthy answer for 1 hour (max_unhealthy)"
    )
