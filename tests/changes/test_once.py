"""
Once means once: every sequence of mishaps, in virtual time.

A small platform and a small Airflow share one clock that nobody waits for. A sequence lists mishaps. Each one
strikes the next sending of the request, whoever sends it. Once the request has been carried out, nothing must
be sent any more. From then on, a sequence only continues with mishaps that need no sending.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import (
    Effect,
    Endpoint,
    Exchange,
    NoResponse,
    Reply,
    Request,
    RetryPolicy,
    Sleep,
    Steps,
)
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.compression import NewTask
from airflow_provider_qianfan.changes.journal import Journal, Ports, fingerprint
from airflow_provider_qianfan.changes.once import create_once
from airflow_provider_qianfan.changes.service import NewService
from airflow_provider_qianfan.changes.standstill import Standstill
from airflow_provider_qianfan.changes.update import Swap, swap_once
from tests.api.steps import Drive, answer, error, page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTLE, LAG, LEAVES_AFTER = 6.0, 5.8, 2.8
START = 1_700_000_000.0
FROZEN = 900.0
MARK = fingerprint("dag", "run", "once", -1)
OLD, NEW = "amv-old", "amv-new"
TRIES = 8

MISHAPS = (
    "429 with Retry-After",
    "429",
    "5xx before",
    "5xx after",
    "reset before",
    "reset after",
    "reset in doubt",
    "TLS fault after",
    "proxy reset after",
    "timeout after",
    "timeout before",
    "RequestExpired",
    "killed before the note",
    "killed before sending",
    "killed after",
    "frozen before the note",
    "frozen in the note",
    "frozen before sending",
    "frozen after",
    "frozen after, and the answer lost",
)
ONE_OF_EACH_KIND = tuple(
    mishap
    for mishap in MISHAPS
    if not mishap.startswith(("5xx", "reset", "TLS", "proxy")) and mishap not in ("429", "RequestExpired")
)
"""Without those that come to the same here: whether something was sent, and whether something was done."""

EARLY = {"killed before the note", "frozen before the note", "frozen in the note"}
"""Those that strike before the request is there."""


class Killed(BaseException):
    """This process is gone."""


class ReplacedError(Exception):
    """What Airflow answers to a try that has been replaced."""


# -- the platform ------------------------------------------------------------------------------------------


@dataclass
class Platform:
    """
    What can be created or swapped, and who may see it when.

    :ivar effects: what was done, and when.
    :ivar shown: what the service serves, from when on.
    """

    lag: float
    now: float = START
    effects: list[float] = field(default_factory=list)
    shown: list[tuple[float, str]] = field(default_factory=lambda: [(0.0, OLD)])

    def perform(self, action: str) -> Reply:
        self.effects.append(self.now)
        if action == "ModifyService":
            self.shown.append((self.now + self.lag, NEW))
            return answer({"result": True})
        made = f"made-{len(self.effects)}"
        return answer({"result": made if action == "CreateModelCompTask" else {"serviceId": made}})

    def roll_back(self) -> None:
        """Have somebody else take the swap back, long enough ago that it shows."""
        self.now += 60
        self.shown.append((self.now, OLD))
        self.now += 60

    def read(self, action: str, body: dict[str, Any]) -> Reply:
        serves = [model for since, model in self.shown if since <= self.now][-1]
        service = {"serviceId": "svco-1", "runStatus": "Serving", "updateStatus": "None", "modelId": serves}
        visible = [
            {"id": f"made-{number}", "serviceId": f"made-{number}", "description": MARK, "status": "running"}
            for number, since in enumerate(self.effects, 1)
            if since + self.lag <= self.now
        ]
        info = {"pageInfo": {"isTruncated": False}}
        result: Any = {
            "DescribeModelCompTasks": {"modelCompTaskList": visible, **info},
            "DescribeServices": {"serviceList": visible, **info},
            "DescribeModel": {
                "modelId": body.get("modelId"),
                "modelSetId": "am-1",
                "status": "Ready",
                "isSupportModelComp": True,
            },
            "DescribeService": service,
        }.get(action)
        if action == "DescribeModelCompTask":
            result = next((row for row in visible if row["id"] == body["modelCompTaskId"]), None)
        elif action == "DescribeService" and body["serviceId"] != "svco-1":
            result = next((row for row in visible if row["serviceId"] == body["serviceId"]), None)
        return answer({"result": result})

    def is_expired(self, request: Request) -> bool:
        _, _, signed_at, expires_in, *_ = request.headers["Authorization"].split("/")
        signed = datetime.strptime(signed_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        return self.now > signed.timestamp() + int(expires_in)

    def expired(self) -> Reply:
        return error(400, "RequestExpired", date=format_datetime(datetime.fromtimestamp(self.now, UTC)))


# -- Airflow -----------------------------------------------------------------------------------------------


class Store:
    """What one try sees of the store: Airflow hides it from a try that has been replaced."""

    def __init__(self, airflow: Airflow, number: int) -> None:
        self._airflow = airflow
        self._number = number

    def get(self, key: str) -> Any:
        self._airflow.moment("get")
        return self._airflow.kept if self._is_mine else None

    def set(self, key: str, value: dict[str, Any]) -> None:
        self._airflow.moment("set")
        if not self._is_mine:
            raise ReplacedError
        self._airflow.kept = json.loads(json.dumps(value))
        self._airflow.moment("kept")

    def delete(self, key: str) -> None:
        if not self._is_mine:
            raise ReplacedError
        self._airflow.kept = None

    @property
    def _is_mine(self) -> bool:
        return self._number == self._airflow.tries


class Noted(Journal):
    """A journal in whose writing a process may freeze, also where nothing is kept."""

    airflow: Airflow

    def write(self, **values: Any) -> None:
        self.airflow.strike("frozen in the note")
        super().write(**values)


@dataclass
class Airflow:
    """
    One task instance and its tries.

    :param mishaps: what is to go wrong.
    :param stored: whether notes are kept over tries.
    :param rolls_back: whether somebody takes a swap back before a process that froze goes on.
    :param freeze_at: the number of the moment at which the first try freezes; -1: at none.
    :ivar lines: what was logged, when, and by which try.
    :ivar done_in_vain: whether it was done, and a mishap has kept that from being known.
    :ivar previous: what was told of the version served before.
    """

    subject: Any
    mishaps: list[str]
    lag: float = LAG
    settle: float = SETTLE
    stored: bool = True
    rolls_back: bool = True
    freeze_at: int = -1

    def __post_init__(self) -> None:
        self.platform = Platform(self.lag)
        self.tries = 0
        self.kept: Any = None
        self.moments = 0
        self.reads = 0
        self.succeeded = False
        self.lines: list[tuple[float, int, str]] = []
        self.errors: list[tuple[int, float, BaseException]] = []
        self.previous: list[str] = []
        self.done_in_vain = False
        self.begun = False
        self.slow = 0.05

    # -- time ------------------------------------------------------------------------------------------

    def clock(self) -> float:
        """Tell the time; between a look and the note, the process may freeze, or be killed."""
        if self.begun:
            self.moment("clock")
        self.begun = True  # what passes before the first reading, nothing in this process can tell
        self.reads += 1
        if self.reads == 3:
            self.strike("frozen before the note")
            self.strike("killed before the note")
        return self.platform.now

    def moment(self, _: str) -> None:
        self.moments += 1
        if self.moments == self.freeze_at:
            self.freeze()

    def freeze(self) -> None:
        """Stand still, until the next tries have come to an end, and a swap has been rolled back."""
        self.platform.now += FROZEN
        self.run()
        if self.subject is swap and self.succeeded and self.rolls_back:
            self.platform.roll_back()

    def strike(self, mishap: str) -> None:
        if self.mishaps and self.mishaps[0] == mishap:
            self.mishaps.pop(0)
            if mishap.startswith("killed"):
                raise Killed
            self.freeze()

    # -- tries -----------------------------------------------------------------------------------------

    def run(self) -> Airflow:
        """Try until a try succeeds."""
        while not self.succeeded and self.tries < TRIES:
            self.tries += 1
            number, self.begun = self.tries, False
            try:
                self.drive(self.begin(number))
            except (Killed, QianfanError, ReplacedError) as failure:
                self.errors.append((number, self.platform.now, failure))
            else:
                # What becomes of a try that has been replaced interests nobody.
                self.succeeded = self.succeeded or number == self.tries
            self.platform.now += 1
        return self

    def begin(self, number: int) -> Steps[Any]:
        exchange = Exchange(
            Endpoint.parse("https://h"),
            Credentials("a", "b"),
            retry=RetryPolicy(),
            clock=lambda: datetime.fromtimestamp(self.platform.now, UTC),
            jitter=lambda: 1.0,
        )
        Noted.airflow = self
        store = Store(self, number) if self.stored else None
        journal = Noted(store, "once", {"mark": MARK}, number)

        def say(_: int, text: str) -> None:
            self.lines.append((self.platform.now, number, text))

        ports = Ports(self.settle, self.clock, say)
        return self.subject(self, exchange, journal, ports)

    def drive(self, steps: Steps[Any]) -> Any:
        reply: Reply = None
        while True:
            try:
                effect = steps.send(reply)
            except StopIteration as finished:
                return finished.value
            self.moment("effect")
            if isinstance(effect, Sleep):
                self.platform.now += effect.seconds
                reply = None
            else:
                reply = self.send(effect)
            self.moment("reply")

    # -- the network -----------------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Do as a driver does; what changes something is struck by the next mishap."""
        action = request.url.rpartition("=")[2]
        self.platform.now += 0.05
        if action.startswith("Describe"):
            reply = self.platform.read(action, json.loads(request.body))
            self.platform.now += self.slow if action == "DescribeModelCompTasks" else 0.05
            self.reads = 0
            return reply
        if self.mishaps and self.mishaps[0] not in EARLY:
            mishap = self.mishaps.pop(0)
            if mishap == "frozen before sending":
                self.freeze()
            elif mishap == "killed before sending":
                raise Killed
            elif request.send_by is None or self.platform.now <= request.send_by:
                return self.struck(mishap, action, request)
        return self.arrive(action, request)

    def arrive(self, action: str, request: Request, takes: float = 0.0) -> Reply:
        if request.send_by is not None and self.platform.now > request.send_by:
            return NoResponse("it is too late to send it", sent=False)
        self.moment("sent")
        if self.platform.is_expired(request):
            return self.platform.expired()
        self.platform.now += takes
        reply = self.platform.perform(action)
        self.moment("done")
        return reply

    def struck(self, mishap: str, action: str, request: Request) -> Reply:
        """Send the request, and have something go wrong."""
        unharmed: dict[str, Reply] = {
            "429 with Retry-After": error(429, "Busy", retry_after="8"),
            "429": error(429, "Busy"),
            "5xx before": page(503),
            "reset before": NoResponse("ConnectionError", sent=False),
            "reset in doubt": NoResponse("ConnectionError", sent=True),
            "timeout before": NoResponse("ReadTimeout", sent=True),
            "RequestExpired": self.platform.expired(),
        }
        takes = 30.0 if mishap.startswith("timeout") else 0.0
        if mishap == "killed after leaving late":
            self.platform.now += LEAVES_AFTER
        if mishap in unharmed:
            self.platform.now += takes
            return unharmed[mishap]
        reply = self.arrive(action, request, takes)
        self.done_in_vain = bool(self.platform.effects)
        if mishap.startswith("killed after"):
            raise Killed
        if mishap.startswith("frozen after"):
            self.freeze()
        if mishap == "frozen after":
            return reply
        return page(504) if mishap == "5xx after" else NoResponse(mishap, sent=True)


# -- what is done once -------------------------------------------------------------------------------------


def compress(airflow: Airflow, exchange: Exchange, journal: Journal, ports: Ports) -> Steps[Any]:
    """Create a compression."""
    new = NewTask("demo", OLD, "am-1", {"strategy": "Sparsity"}, MARK)
    return create_once(exchange, new, "adopt", journal, ports)


def serve(airflow: Airflow, exchange: Exchange, journal: Journal, ports: Ports) -> Steps[Any]:
    """Create a service."""
    new = NewService("chat", "chat", NEW, None, {"deploymentComputeUnitList": []}, MARK)
    return create_once(exchange, new, "adopt", journal, ports)


def swap(airflow: Airflow, exchange: Exchange, journal: Journal, ports: Ports) -> Steps[Any]:
    """Update a service."""
    wanted = Swap("svco-1", NEW, None, lambda served: airflow.previous.append(served.model_id))
    return swap_once(exchange, wanted, journal, ports)


SUBJECTS = [compress, serve, swap]


def sequences(
    longest: int,
    run: Callable[[tuple[str, ...]], Airflow],
    mishaps: tuple[str, ...] = MISHAPS,
    before: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], Airflow]]:
    """Run all sequences of mishaps up to that length."""
    ended = run(before)
    yield before, ended
    if len(before) < longest and not ended.mishaps:
        for mishap in EARLY if ended.done_in_vain else mishaps:
            yield from sequences(longest, run, mishaps, (*before, mishap))


def check(airflow: Airflow, told: object = "") -> None:
    """Check that it was done once, and that the log has told the truth."""
    told = told, airflow.lines, airflow.errors
    assert airflow.succeeded, told
    assert len(airflow.platform.effects) == 1, told
    for number, ended, failure in airflow.errors:
        if re.search("has appeared in|the service has shown", str(failure)):
            (since, _, text) = [line for line in airflow.lines if line[1] == number][-1]
            announced = re.match(r"The answer was lost\. Looking for (\d+) seconds", text)
            assert announced, told
            assert ended - since >= int(announced[1]), told


STORED = pytest.mark.parametrize("stored", [True, False], ids=["notes are kept", "before Airflow 3.3"])


@STORED
@pytest.mark.parametrize(
    ("longest", "mishaps", "lag"),
    [
        pytest.param(2, ONE_OF_EACH_KIND, LAG, id="two of each kind, shown late"),
        pytest.param(2, MISHAPS, 0.0, id="two of all, shown at once", marks=pytest.mark.faults),
        pytest.param(2, MISHAPS, LAG, id="two of all, shown late", marks=pytest.mark.faults),
        pytest.param(3, ONE_OF_EACH_KIND, LAG, id="three of each kind, shown late", marks=pytest.mark.faults),
        pytest.param(3, MISHAPS, 0.0, id="three of all, shown at once", marks=pytest.mark.faults),
        pytest.param(3, MISHAPS, LAG, id="three of all, shown late", marks=pytest.mark.faults),
    ],
)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_all_sequences(
    subject: Any, lag: float, stored: bool, longest: int, mishaps: tuple[str, ...]
) -> None:
    def run(sequence: tuple[str, ...]) -> Airflow:
        return Airflow(subject, list(sequence), lag=lag, stored=stored).run()

    for sequence, airflow in sequences(longest, run, mishaps):
        check(airflow, sequence)


@STORED
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_later_try_counts_from_when_the_request_may_have_left(subject: Any, stored: bool) -> None:
    """A slow connection lets it leave seconds after its note, and the platform shows it late, too."""
    check(Airflow(subject, ["killed after leaving late"], stored=stored).run())


@STORED
@pytest.mark.parametrize(
    "before", [(), ("429",), ("killed before sending",), ("reset in doubt",), ("5xx after",)]
)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_freeze_at_any_moment(subject: Any, before: tuple[str, ...], stored: bool) -> None:
    """The process stands still at each reading of its clock, each note, and each request, in turn."""
    moments = Airflow(subject, list(before), stored=stored).run().moments

    for moment in range(1, moments + 1):
        check(Airflow(subject, list(before), stored=stored, freeze_at=moment).run(), (before, moment))


@pytest.mark.parametrize("subject", [compress, serve])
def test_a_retry_after_and_then_a_lost_answer(subject: Any) -> None:
    """When the note was of the first sending, the search was over before it began."""
    airflow = Airflow(subject, ["429 with Retry-After", "5xx after"], lag=4.0).run()

    check(airflow)
    assert airflow.tries == 1
    (lost,) = [since for since, _, text in airflow.lines if "was lost. Looking for 6 seconds" in text]
    (found,) = [since for since, _, text in airflow.lines if "was lost, but" in text]
    assert lost - START > 8
    assert 4 <= found - lost <= 6


@pytest.mark.parametrize("subject", [compress, serve])
def test_a_search_lasts_as_long_as_the_log_says(subject: Any) -> None:
    airflow = Airflow(subject, ["429 with Retry-After", "timeout before"], lag=4.0).run()

    check(airflow)
    assert airflow.tries == 2
    (lost,) = [since for since, _, text in airflow.lines if "was lost. Looking for 6 seconds" in text]
    ((_, ended, _),) = airflow.errors
    assert 6 <= ended - lost <= 8


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_request_that_does_not_leave_is_sent_again_three_times(subject: Any) -> None:
    airflow = Airflow(subject, ["reset before"] * 3).run()
    given_up = Airflow(subject, ["reset before"] * 4).run()

    check(airflow)
    check(given_up)
    assert (airflow.tries, given_up.tries) == (1, 2)
    pauses = re.findall(r"asking again, in (.*?)\.", "\n".join(text for _, _, text in airflow.lines))
    assert pauses == ["1 second", "2 seconds", "4 seconds"]


@STORED
def test_what_was_served_before_is_not_what_the_next_try_has_swapped_to(stored: bool) -> None:
    moments = Airflow(swap, [], stored=stored).run().moments

    for moment in range(1, moments + 1):
        airflow = Airflow(swap, [], lag=0.0, stored=stored, freeze_at=moment, rolls_back=False).run()
        check(airflow, moment)
        assert set(airflow.previous) <= {OLD}, moment


# -- a standstill ------------------------------------------------------------------------------------------

REQUEST = Request("https://h", {}, b"")


@pytest.mark.parametrize(
    ("before", "effect", "takes", "noticed"),
    [
        (5.0, REQUEST, 65.0, False),
        (5.1, REQUEST, 0.0, True),
        (0.0, REQUEST, 65.1, True),
        (5.0, Sleep(5.0), 10.0, False),
        (0.0, Sleep(5.0), 10.1, True),
        (0.0, Sleep(300.0), 305.0, False),
        (0.0, Sleep(300.0), 305.1, True),
    ],
)
def test_what_takes_longer_than_it_may_is_a_standstill(
    before: float, effect: Effect, takes: float, noticed: bool
) -> None:
    def steps() -> Steps[None]:
        yield effect

    times = iter([START, START + before, START + before + takes])
    standstill = Standstill(lambda: next(times))

    Drive(standstill.watch(steps()), [answer({})])

    assert standstill.ended == (START + before + takes if noticed else None)


# -- the note ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [11, 3600])
def test_a_platform_that_takes_too_long_to_look_at(seconds: float) -> None:
    """Nothing is created after a look that tells of a time long ago."""
    airflow = Airflow(compress, [])
    airflow.slow = seconds

    airflow.run()

    assert airflow.platform.effects == []
    _, _, failure = airflow.errors[0]
    told = (
        "^Creating a model compression task: nothing was sent: the look before it took .* ended 0 seconds ago"
    )
    assert re.search(told, str(failure))
    assert isinstance(failure, QianfanTransientError)
    assert failure.sent is False
