"""
A Qianfan, a network and an Airflow, in which tries change the platform. Without sockets, in simulated time.

Several tries may be under way at once. While a process stands still, all others go on.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.exchange import (
    Endpoint,
    Exchange,
    NoResponse,
    Reply,
    Request,
    Response,
    RetryPolicy,
    Sleep,
    Steps,
)
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.cancellation import cancel_unfinished, wait_for_end
from airflow_provider_qianfan.changes.compression import NewTask
from airflow_provider_qianfan.changes.journal import Journal, Ports, fingerprint
from airflow_provider_qianfan.changes.once import create_once
from airflow_provider_qianfan.changes.service import NewService
from airflow_provider_qianfan.changes.update import Swap, swap_once
from airflow_provider_qianfan.gate.errors import QianfanGateError
from tests.api.steps import answer, error, page
from tests.proof.changes_oracle import CANNOT_TELL_APART, Change, Story, Try, Wish

if TYPE_CHECKING:
    from collections.abc import Callable

IN_A_REQUEST = ("effect", "reply", "send", "answered", "clock after an answer")
"""Where a process may stand still so that the request seems to be slow."""

EPOCH = 1_767_225_600.0
TIMEOUT = 60.0
"""Seconds. The client waits no longer for an answer."""

MOST_EVENTS = 20_000
"""A world with more events has no end."""

KILLED_WITHIN = 5.0
"""
Seconds. If a process was replaced and goes on, it ends within this time: Airflow refuses its heartbeat.

If Airflow keeps notes, no promise depends on that. So the process lives on.
"""

FOREVER = float("inf")
OLD, NEW, OTHER = "amv-old", "amv-new", "amv-other"
TASK, SERVICE = "amva-given", "svco-one"

NOT_DONE = (
    "network: no connection",
    "network: request lost",
    "HTTP: 429",
    "HTTP: 429 with Retry-After in seconds",
    "HTTP: 503",
    "HTTP: 502 with an HTML page",
    "clock: signature expired",
    "HTTP: 400 InvalidParameter",
    "answer: legacy code 18",
    "answer: legacy code 336100",
)
"""Faults of a request. The platform does not carry it out. The first word says where a fault happens."""

DONE = (
    "network: answer lost",
    "HTTP: 504 with an HTML page",
    "answer: half of the JSON",
    "answer: an HTML page",
    "answer: no result",
    "answer: a number as its result",
)
"""Faults of an answer. The platform has carried out the request."""

SLOW = (
    "network: connection takes 4 s",
    "network: connection takes 6 s",
    "network: request takes 3 s",
    "network: request takes 30 s",
    "network: request takes 100 s",
    "network: answer takes 8 s",
    "network: answer takes 70 s",
)
"""Delays, before a request leaves, before it arrives, or before its answer arrives."""

READS = (
    "network: request lost",
    "HTTP: 429",
    "HTTP: 429 with Retry-After in seconds",
    "HTTP: 503",
    "HTTP: 502 with an HTML page",
    "clock: signature expired",
    "answer: half of the JSON",
    "answer: no result",
    "network: answer takes 70 s",
)


class Died(BaseException):
    """The process has died."""


class ReplacedError(Exception):
    """Airflow refuses a try that has been replaced."""


class StoreError(Exception):
    """Airflow did not answer in time. It may have kept the value."""


@dataclass(frozen=True)
class World:
    """
    What a world is like, and what will go wrong in it.

    :ivar subject: compression, service, update or cancel.
    :ivar stored: whether Airflow keeps notes over tries.
    :ivar list_late: seconds until the list shows what was created.
    :ivar detail_late: seconds until the answer for one service or task shows that it was created, that it is
        being updated, or that it is being cancelled.
    :ivar lasts: for how many seconds a service shows an update in progress, or a task that it is stopping.
    :ivar reverts: whether the platform takes an update of ours back when it ends.
    :ivar refuses_more: whether the platform refuses an update during another one.
    :ivar bare: whether rows of the list lack descriptions.
    :ivar ahead: seconds by which the platform's clock is ahead.
    :ivar heartbeat: Airflow replaces a process that has stood still for so many seconds.
    :ivar sendings: the faults of the requests that change something, in turn.
    :ivar reads: the faults of other requests, by their number.
    :ivar mishaps: what happens to processes: the number of the process, its moment (a number, or its name),
        and for how many seconds it stands still; 0: it dies; -1: Airflow does not answer.
    :ivar wishes: what the tries are to do, and how many seconds after the end of the try before each begins.
    :ivar rivals: what the tries of another run are to do. The first begins so many seconds after the world.
    :ivar hands: when somebody else updates the service or deletes all that was created, or the task ends.
    """

    subject: str
    stored: bool = True
    settle: float = 12.0
    list_late: float = 0.0
    detail_late: float = 0.0
    lasts: float = 0.0
    reverts: bool = False
    refuses_more: bool = False
    bare: bool = False
    rows: int = 0
    page: int = 100
    oldest_first: bool = False
    repeats: bool = False
    filtered: bool = True
    absent: str = "404"
    latency: float = 0.1
    ahead: float = 0.0
    heartbeat: float = 300.0
    sendings: tuple[str, ...] = ()
    reads: tuple[tuple[int, str], ...] = ()
    mishaps: tuple[tuple[int, int | str, float], ...] = ()
    wishes: tuple[tuple[float, Wish], ...] = ()
    rivals: tuple[tuple[float, Wish], ...] = ()
    hands: tuple[tuple[float, str], ...] = ()


@dataclass
class Process:
    """A process that carries out one try."""

    number: int
    record: Try
    run: Run
    steps: Steps[Any] | None = None
    moments: int = 0
    changing: bool = False
    replied: bool = False
    doomed: bool = False
    gone: bool = False
    lost: Change | None = None
    accepted: Change | None = None

    def doom(self) -> None:
        """Have the process die at its next moment."""
        self.doomed = True

    def note(self, now: float) -> None:
        """Remember when the loss of an answer was noted, if one was lost."""
        if self.lost is not None:
            self.lost.counts_from, self.lost = now, None


@dataclass
class Run:
    """One task of one run of a DAG, in Airflow."""

    name: str
    wishes: list[tuple[float, Wish]]
    owner: Process | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    tries: int = 0


class Store:
    """What one try sees of the store: Airflow hides it from a try that has been replaced."""

    def __init__(self, stage: Stage, process: Process) -> None:
        self._stage = stage
        self._process = process

    def get(self, key: str) -> Any:
        self._stage.moment(self._process, "get")
        return self._kept.get(key) if self._is_mine else None

    def set(self, key: str, value: Any) -> None:
        self._stage.moment(self._process, "set")
        self._check()
        self._kept[key] = json.loads(json.dumps(value))
        self._process.note(self._stage.now)
        self._stage.moment(self._process, "kept")

    def delete(self, key: str) -> None:
        self._stage.moment(self._process, "delete")
        self._check()
        self._kept.pop(key, None)

    @property
    def _kept(self) -> dict[str, Any]:
        return self._process.run.kept

    @property
    def _is_mine(self) -> bool:
        return self._process.run.owner is self._process

    def _check(self) -> None:
        if not self._is_mine:
            raise ReplacedError


class Stage:
    """
    Plays a world.

    :ivar story: what happened, line by line.
    :ivar struck: the faults that happened, and how often.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 0.0
        self.story: list[str] = []
        self.struck = Counter[str]()
        self.changes: list[Change] = []
        self.processes: list[Process] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = self._sendings = self._reads = self._happened = 0
        self._reading = dict(world.reads)
        self._mishaps = {(number, moment): seconds for number, moment, seconds in world.mishaps}
        self._finished_at = FOREVER

    # -- time --------------------------------------------------------------------------------------------

    def play(self) -> Story:
        """Play the world to its end."""
        for name, wishes in (("run", self.world.wishes), ("rival", self.world.rivals)):
            if wishes:
                self._at(wishes[0][0], partial(self._begin, Run(name, list(wishes))))
        for at, what in self.world.hands:
            self._at(at, partial(self._meddle, what))
        self._go_on(FOREVER)
        return Story(
            self.world.subject,
            self.world.stored,
            self.world.settle,
            self.changes,
            [process.record for process in self.processes],
            {SERVICE: OLD, "svco-two": OLD},
            bool(self.world.rivals or self.world.hands or self.world.reverts),
        )

    def _at(self, at: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, event))

    def _go_on(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self._happened += 1
            if self._happened > MOST_EVENTS:
                self._events.clear()
                return
            at, _, event = heapq.heappop(self._events)
            self.now = max(self.now, at)
            event()
        if until < FOREVER:
            self.now = max(self.now, until)

    def tell(self, text: str) -> None:
        self.story.append(f"{self.now:9.2f}  {text}")

    # -- Airflow -----------------------------------------------------------------------------------------

    def _begin(self, run: Run) -> None:
        _, wish = run.wishes.pop(0)
        run.tries += 1
        creates = self.world.subject in ("compression", "service")
        mark = fingerprint("dag", run.name, "task", -1, wish.nonce or None) if creates else ""
        record = Try(run.name, run.tries, wish, mark, self.now)
        process = Process(len(self.processes), record, run)
        self.processes.append(process)
        if run.owner is not None and run.owner.record.ended is None:
            run.owner.record.replaced_at = self.now
        run.owner = process
        self.tell(f"{_name(process)} begins: {wish}")
        self._step(process, None, first=True)

    def _step(self, process: Process, reply: Reply, *, first: bool = False) -> None:
        if process.gone:
            return
        try:
            if first:
                process.steps = self._steps(process)
            else:
                self.moment(process, "answered" if process.changing else "reply")
            assert process.steps is not None
            process.replied = reply is not None
            effect = process.steps.send(reply)
            changing = isinstance(effect, Request) and "Action=Describe" not in effect.url
            process.changing = changing
            self.moment(process, "send" if changing else "effect")
        except StopIteration as finished:
            self._end(process, result=str(finished.value))
        except Died:
            self._end(process, died=True)
        except Exception as failure:
            named = isinstance(failure, QianfanError | QianfanGateError | ReplacedError | StoreError)
            self._end(process, error=f"{type(failure).__name__}: {failure}", named=named)
        else:
            if isinstance(effect, Sleep):
                self._at(self.now + max(0.0, effect.seconds), lambda: self._step(process, None))
            else:
                self._send(process, effect)

    def _end(self, process: Process, *, result: str | None = None, error: str = "", **told: bool) -> None:
        process.gone, record = True, process.record
        if result is not None and process.accepted is not None:
            process.accepted.known = True
        record.ended, record.result, record.error = self.now, result, error
        record.named, record.died = told.get("named", True), told.get("died", False)
        self.tell(f"{_name(process)} ends: {'dies' if record.died else error or result}")
        if process.run.owner is process and record.replaced_at == FOREVER:
            self._next(process.run)

    def _next(self, run: Run, after: float = 0.0) -> None:
        if run.wishes:
            self._at(self.now + after + run.wishes[0][0], lambda: self._begin(run))

    def moment(self, process: Process, where: str) -> None:
        """Have a process die or stand still, if this is its moment."""
        process.moments += 1
        if process.doomed:
            raise Died
        strikes = (process.number, process.moments), (process.number, where)
        seconds = next((self._mishaps.pop(key) for key in strikes if key in self._mishaps), None)
        if seconds is None:
            return
        record = process.record
        if seconds < 0:
            if where in ("get", "set", "kept", "delete"):
                self._strike(process, "worker: Airflow does not answer", where)
                raise StoreError
        elif seconds == 0:
            self._strike(process, "worker: dies", where)
            raise Died
        else:
            self._strike(process, f"worker: stands still for {seconds:g} s", where)
            record.stood += seconds
            alive = process.run.owner is process and record.replaced_at == FOREVER
            if seconds >= self.world.heartbeat and alive and process.run.wishes:
                unnoticed = where in IN_A_REQUEST and seconds < CANNOT_TELL_APART
                record.unwatched = record.unwatched or unnoticed or record.requests == 0
                record.replaced_at = self.now
                self._next(process.run, self.world.heartbeat)
            self._go_on(self.now + seconds)
            self.tell(f"{_name(process)} goes on")
            if record.replaced_at < FOREVER and not self.world.stored:
                self._at(self.now + KILLED_WITHIN, process.doom)

    def _strike(self, process: Process, what: str, where: str) -> None:
        self.struck[what] += 1
        self.tell(f"{_name(process)}: {what} (at: {where})")

    def _steps(self, process: Process) -> Steps[Any]:
        world, wish, mark = self.world, process.record.wish, process.record.mark
        exchange = Exchange(
            Endpoint.parse("https://h"),
            Credentials("a", "b"),
            retry=RetryPolicy(),
            clock=lambda: datetime.fromtimestamp(EPOCH + self.now, UTC),
            jitter=lambda: 0.5,
        )

        def clock() -> float:
            # The process reads the clock to know how long the request took.
            where = "clock after an answer" if process.replied else "clock"
            process.replied = False
            self.moment(process, where)
            return EPOCH + self.now

        ports = Ports(world.settle, clock, lambda _, text: None)
        store = Store(self, process) if world.stored else None
        number = process.record.number
        if world.subject == "compression":
            new = NewTask("demo", wish.about, "am-1", {"strategy": "Sparsity"}, mark)
            return create_once(exchange, new, "adopt", Journal(store, "k", new.identity, number), ports)
        if world.subject == "service":
            service = NewService(wish.about, "chat", wish.model, None, {"replicasCount": 1}, mark)
            return create_once(
                exchange, service, "adopt", Journal(store, "k", service.identity, number), ports
            )
        if world.subject == "update":
            swap = Swap(
                wish.about, wish.model, None, lambda served: process.record.remembered.append(served.model_id)
            )
            identity = {"service_id": wish.about, "model_id": wish.model}
            return swap_once(exchange, swap, Journal(store, "k", identity, number), ports)
        return self._cancel(exchange, wish.about, clock)

    def _cancel(self, exchange: Exchange, task_id: str, clock: Callable[[], float]) -> Steps[str]:
        task = yield from cancel_unfinished(exchange, task_id)
        if self.world.lasts:
            until = clock() + 600
            task = yield from wait_for_end(exchange, task, poke_interval=10, until=until, clock=clock)
        return task.status

    # -- the network -------------------------------------------------------------------------------------

    def _send(self, process: Process, request: Request) -> None:
        action = request.url.rpartition("=")[2]
        reads, body = action.startswith("Describe"), json.loads(request.body)
        process.record.requests += 1
        left = self.now + self.world.latency / 4
        fault = self._fault(reads)
        what = f"{_name(process)} {action} {_brief(body)}"
        left += _seconds(fault, "network: connection takes")
        if fault == "network: no connection" or (
            request.send_by is not None and EPOCH + left > request.send_by
        ):
            self.tell(f"{what}: does not leave ({fault or 'late'})")
            self._at(left, lambda: self._step(process, NoResponse("it did not leave", sent=False)))
            return
        change: Change | None = None
        if not reads:
            process.record.sendings += 1
            change = self._change(process, body, left)
        arrives = left + self.world.latency / 4 + _seconds(fault, "network: request takes")
        if change is not None:
            change.counts_from = left
        answers = arrives + self.world.latency / 2 + _seconds(fault, "network: answer takes")
        box: list[Response] = []

        def arrive() -> None:
            told = f" ({fault})" if fault else ""
            if fault == "network: request lost":
                self.tell(f"{what}{told}")
                return
            reply = self._reply(action, body, request, fault, change)
            box.append(reply)
            self.tell(f"{what}{told} -> {reply.status} {reply.body[:150].decode('utf-8', 'replace')}")

        def resume() -> None:
            lost = not box or fault == "network: answer lost" or answers > left + TIMEOUT
            reply: Reply = NoResponse("no answer", sent=True) if lost else box[0]
            if change is not None and not process.gone and (lost or fault in DONE):
                process.lost = change
                if not self.world.stored:
                    process.note(self.now)
            elif change is not None and not process.gone and change.done_at is not None:
                process.accepted = change
            self._note_seen(process, action, reply)
            self._step(process, reply)

        self._at(arrives, arrive)
        self._at(min(answers, left + TIMEOUT), resume)

    def _fault(self, reads: bool) -> str:
        """Return what happens to the next request; nothing if nothing does."""
        if reads:
            self._reads += 1
            fault = self._reading.get(self._reads, "")
        else:
            self._sendings += 1
            fault = "".join(self.world.sendings[self._sendings - 1 : self._sendings])
        if fault:
            self.struck[fault] += 1
        return fault

    def _reply(
        self, action: str, body: dict[str, Any], request: Request, fault: str, change: Change | None
    ) -> Response:
        date = format_datetime(datetime.fromtimestamp(int(EPOCH + self.now + self.world.ahead), UTC))
        if self._is_expired(request) or fault == "clock: signature expired":
            return error(400, "RequestExpired", date=date)
        instead: dict[str, Callable[[], Response]] = {
            "HTTP: 429": lambda: error(429, "Busy", date=date),
            "HTTP: 429 with Retry-After in seconds": lambda: error(429, "Busy", date=date, retry_after="40"),
            "HTTP: 503": lambda: error(503, "ServiceUnavailable"),
            "HTTP: 502 with an HTML page": lambda: page(502),
            "HTTP: 400 InvalidParameter": lambda: error(400, "InvalidParameter", date=date),
            "answer: legacy code 18": lambda: answer({"error_code": 18, "error_msg": "qps"}),
            "answer: legacy code 336100": lambda: answer({"error_code": 336100, "error_msg": "load"}),
        }
        if fault in instead:
            return instead[fault]()
        done = self._read(action, body) if change is None else self._do(change)
        if done.status != 200:
            return done
        afterwards: dict[str, Callable[[], Response]] = {
            "HTTP: 504 with an HTML page": lambda: page(504),
            "answer: half of the JSON": lambda: Response(
                done.status, done.headers, done.body[: len(done.body) // 2]
            ),
            "answer: an HTML page": lambda: page(200),
            "answer: no result": lambda: answer({"requestId": "r", "result": None}),
            "answer: a number as its result": lambda: answer({"requestId": "r", "result": 7}),
        }
        return afterwards.get(fault, lambda: done)()

    def _is_expired(self, request: Request) -> bool:
        _, _, signed_at, expires_in, *_ = request.headers["Authorization"].split("/")
        signed = datetime.fromisoformat(signed_at)
        return EPOCH + self.now + self.world.ahead > signed.timestamp() + int(expires_in)

    def _note_seen(self, process: Process, action: str, reply: Reply) -> None:
        """Note what a process has read of the thing that it is to change."""
        if not isinstance(reply, Response) or reply.status != 200:
            return
        try:
            result = json.loads(reply.body).get("result")
        except ValueError:
            return
        if not isinstance(result, dict) or self.world.subject not in ("update", "cancel"):
            return
        about, saw = process.record.wish.about, process.record.saw
        for row in [result, *result.get("modelCompTaskList", [])]:
            if action == "DescribeService" and row.get("serviceId") == about:
                saw.append((self.now, row["modelId"], row["updateStatus"] != "None"))
            elif row.get("id") == about:
                saw.append((self.now, row["status"], False))

    # -- the platform ------------------------------------------------------------------------------------

    def _change(self, process: Process, body: dict[str, Any], left: float) -> Change:
        """Note a request that changes something."""
        about = {
            "compression": body.get("sourceModelId"),
            "service": body.get("name"),
            "update": body.get("serviceId"),
            "cancel": body.get("modelCompTaskId"),
        }[self.world.subject]
        model = body.get("modelId", "")
        if model and body["modelSetId"] != _set_of(model):
            model = f"{model} of {body['modelSetId']}"
        record = process.record
        change = Change(
            record.by, record.number, str(about), body.get("description", ""), model, left_at=left
        )
        self.changes.append(change)
        return change

    def _do(self, change: Change) -> Response:
        """Carry out a request."""
        world = self.world
        done = answer({"requestId": "r", "result": True})
        if world.subject in ("compression", "service"):
            change.made_id = f"{'amva' if world.subject == 'compression' else 'svco'}-made{len(self._made)}"
            change.shown_at = self.now + world.list_late
            made = change.made_id if world.subject == "compression" else {"serviceId": change.made_id}
            done = answer({"requestId": "r", "result": made})
        elif world.subject == "update":
            _, updating = self._served(change.about)
            change.hidden = updating
            if updating and world.refuses_more:
                return error(400, "ServiceUpdating", "an update is in progress")
            change.shown_at = self.now + world.detail_late
            change.over_at = change.shown_at + world.lasts
            change.gone_at = change.over_at if world.reverts and change.by else FOREVER
        else:
            if self._status(self.now) not in ("running", "creating"):
                return error(400, "TaskFinished", "the task has ended")
            change.shown_at = self.now + world.detail_late
            change.over_at = change.shown_at + world.lasts
            done = answer({"requestId": "r"})
        change.done_at = self.now
        return done

    @property
    def _made(self) -> list[Change]:
        return [change for change in self.changes if change.made_id]

    def _meddle(self, what: str) -> None:
        """Have somebody do something in the console."""
        self.tell(f"somebody: {what}")
        if what == "deletes":
            for change in self._made:
                change.gone_at = min(change.gone_at, self.now)
        elif what == "finishes":
            self._finished_at = min(self._finished_at, self.now)
        else:
            change = Change("", 0, SERVICE, model=what, left_at=self.now)
            self.changes.append(change)
            self._do(change)

    def _served(self, service_id: str) -> tuple[str, bool]:
        """Return the version that a service shows, and whether an update is in progress."""
        model, updating = OLD, False
        for change in self.changes:
            if change.about != service_id or change.done_at is None or change.shown_at > self.now:
                continue
            updating = change.over_at > self.now
            if not updating and change.gone_at > self.now:
                model = change.model
        return model, updating

    def _status(self, now: float) -> str:
        done = [change for change in self.changes if change.about == TASK and change.done_at is not None]
        for change in done:
            if change.shown_at <= now:
                return "stopped" if change.over_at <= now else "stopping"
        return "succeeded" if self._finished_at <= now else "running"

    def _read(self, action: str, body: dict[str, Any]) -> Response:
        if action == "DescribeModel":
            model = body["modelId"]
            ready = {"modelId": model, "modelSetId": _set_of(model), "status": "Ready"}
            return answer({"result": {**ready, "isSupportModelComp": True}})
        asked = body.get("modelCompTaskId") or body.get("serviceId")
        if asked is None:
            return self._page(body)
        if self.world.subject == "update":
            model, updating = self._served(asked)
            status = {"runStatus": "Serving", "updateStatus": "Updating" if updating else "None"}
            served = {"serviceId": asked, "modelId": model, "modelSetId": _set_of(model), **status}
            return answer({"result": served})
        for row in self._rows(self.world.detail_late, bare=False):
            if asked in (row["id"], row["serviceId"]):
                return answer({"result": row})
        return {
            "404": lambda: error(404, "NoSuchKey"),
            "400": lambda: error(400, "InappropriateJSON"),
            "null": lambda: answer({"result": None}),
        }[self.world.absent]()

    def _rows(self, late: float, *, bare: bool) -> list[dict[str, Any]]:
        rows = [
            _row(f"zz-{number}", "amv-one", "chat", ("", "by hand", "[airflow:0123456789abcdef]")[number % 3])
            for number in range(self.world.rows)
        ]
        if self.world.subject == "cancel":
            rows.append({**_row(TASK, "amv-one", "chat", ""), "status": self._status(self.now)})
        rows += [
            _row(change.made_id, change.about, change.about, change.mark)
            for change in self._made
            if change.done_at is not None and change.done_at + late <= self.now < change.gone_at
        ]
        if bare:
            rows = [{key: value for key, value in row.items() if key != "description"} for row in rows]
        return rows if self.world.oldest_first else rows[::-1]

    def _page(self, body: dict[str, Any]) -> Response:
        rows = self._rows(self.world.list_late, bare=self.world.bare)
        key = "sourceModelId" if "sourceModelId" in body else "name"
        if self.world.filtered and key in body:
            rows = [row for row in rows if row[key] == body[key]]
        ids = [row["id"] for row in rows]
        begin = 0
        if "marker" in body:
            if body["marker"] not in ids:
                return error(400, "InvalidMarker")
            begin = ids.index(body["marker"]) + (0 if self.world.repeats else 1)
        size = self.world.page
        shown, more = rows[begin : begin + size], begin + size < len(rows)
        info: dict[str, Any] = {"isTruncated": more}
        if more:
            info["nextMarker"] = shown[-1]["id"]
        rows_key = "serviceList" if self.world.subject == "service" else "modelCompTaskList"
        return answer({"result": {rows_key: shown, "pageInfo": info}})


def _row(made_id: str, source: str, name: str, description: str) -> dict[str, Any]:
    told = {"description": description, "sourceModelId": source, "name": name, "status": "running"}
    return {"id": made_id, "serviceId": made_id, "runStatus": "Serving", "updateStatus": "None", **told}


def _set_of(model_id: str) -> str:
    return f"am-of-{model_id}"


def _seconds(fault: str, begins: str) -> float:
    return float(fault.split()[-2]) if fault.startswith(begins) else 0.0


def _name(process: Process) -> str:
    return f"{process.record.by} try {process.record.number}"


def _brief(body: dict[str, Any]) -> str:
    told = {key: value for key, value in body.items() if key not in ("maxKeys", "config", "deploymentConfig")}
    return " ".join(map(str, told.values()))
