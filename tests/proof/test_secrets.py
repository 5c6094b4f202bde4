"""
No error, log or object shows a secret, however you look at it. Airflow's masker plays no part in this.

``tests/integration/test_canary.py`` looks for the same canaries in all that a whole Airflow leaves behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import http.client
import io
import json
import logging
import pickle
import pprint
import random
import sys
import traceback
import warnings
import zlib
from base64 import b64encode
from collections import Counter, deque
from collections.abc import Mapping
from queue import LifoQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_qianfan.api import model_compression
from airflow_provider_qianfan.api.errors import MODEL_PATH, QianfanError
from airflow_provider_qianfan.api.exchange import RetryPolicy
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.gate.snapshot import Query
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.triggers._shared import join
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger
from airflow_provider_qianfan.triggers.waiting import QianfanTrigger
from tests.faults.tls import NAME
from tests.proof.canaries import Canaries, Guarded, guarded
from tests.proof.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    import requests

CANARIES = Canaries()
FIGURES: Counter[str] = Counter()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("guarded"), CANARIES) as found:
        yield found
    record("secrets_in_process", {**FIGURES, "bytes_searched": CANARIES.searched})


@pytest.fixture(autouse=True)
def _heal(platform: Guarded) -> Iterator[None]:
    yield
    platform.server.world.faults.clear()


@pytest.fixture(params=["connect", "socks"])
def hook(request: pytest.FixtureRequest, platform: Guarded, monkeypatch: pytest.MonkeyPatch) -> QianfanHook:
    """A hook that reaches the platform through a proxy with a password."""
    return made(platform, monkeypatch, extra={"proxy": getattr(platform, request.param)})


def made(platform: Guarded, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> QianfanHook:
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", json.dumps(platform.connection(**changes)))
    return QianfanHook(retry=RetryPolicy(tries=1))


def leaks(what: str | bytes) -> list[str]:
    """Name the canaries in a text."""
    FIGURES["looks"] += 1
    return CANARIES.found_in(what)


# -- errors ------------------------------------------------------------------------------------------------


def variables(error: BaseException, but: str = "") -> list[str]:
    """Return the frames that an error has left, with their variables; but for those of one file."""
    frames = [pair for pair in traceback.walk_tb(error.__traceback__) if pair[0].f_code.co_filename != but]
    stack = traceback.StackSummary.extract(iter(frames))  # its capture_locals fails if a repr does
    return [
        *stack.format(),
        *(shown_value(value) for frame, _ in frames for value in frame.f_locals.values()),
    ]


def shown_value(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # it is made only in part, or cannot be shown
        return ""


def shown(error: BaseException) -> str:
    """Return all that a tool could show of an error: its frames with their variables, and earlier errors."""
    told, seen = [], set[int]()
    queue: list[BaseException | None] = [error]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        queue += [each.__cause__, each.__context__]
        told += [*variables(each, but=__file__), str(each), repr(each), repr(each.args), repr(vars(each))]
        told += [repr(getattr(each, name, "")) for name in ("object", "doc")]  # of errors of text and JSON
    return "\n".join(told)


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as failure:  # noqa: PT011  whatever it is
        call()
    return failure.value


def read_list(hook: QianfanHook) -> object:
    return hook.list_model_comp_tasks()


LIST = {"Action": model_compression.LIST}


def ask_session(hook: QianfanHook, **arguments: Any) -> requests.Response:
    usual: dict[str, Any] = {"method": "POST", "url": "/v2/model", "params": LIST, "json": {}}
    return hook.get_conn().request(**{**usual, **arguments})


BROKEN: dict[str, Any] = {"timeout": "soon"}
FAILURES: dict[str, tuple[dict[str, Any], Fault | None, Callable[[QianfanHook], object]]] = {
    "extra is a list": ({"extra_is": "list"}, None, lambda hook: hook.settings),
    "extra has a number of 5000 digits": ({"extra_is": "long"}, None, lambda hook: hook.settings),
    "extra is too deep": ({"extra_is": "deep"}, None, lambda hook: hook.settings),
    "a wrong timeout": ({"extra": BROKEN}, None, lambda hook: hook.settings),
    "a proxy that is none": ({"extra": {"proxy": "ftp"}}, None, lambda hook: hook.settings),
    "a bundle that is none": ({"extra": {"verify": "/nowhere"}}, None, lambda hook: hook.settings),
    "a key with a blank": ({"password": "blank"}, None, lambda hook: hook.settings),
    "another key": ({"login": "nobody"}, None, read_list),
    "a wrong password of the proxy": ({"extra": {"proxy": "wrong"}}, None, read_list),
    "an answer that is none": ({}, Fault(not_json=True), read_list),
    "a cut answer": ({}, Fault(truncated_body="content_length"), read_list),
    "too slow an answer": ({"extra": {"timeout": 0.3}}, Fault(latency=1), read_list),
    "a redirect": ({}, Fault(redirect="https://elsewhere.test/"), read_list),
    "the triggerer, extra is too deep": ({"extra_is": "deep"}, None, lambda hook: asyncio.run(account())),
    "the session, a path that is none": ({}, None, lambda hook: ask_session(hook, url="model")),
    "the session, too slow": ({"extra": {"timeout": 0.3}}, Fault(latency=1), ask_session),
    "the session, a method that is none": ({}, None, lambda hook: ask_session(hook, method="P\ud800")),
    "the session, a header that is none": (
        {},
        None,
        lambda hook: ask_session(hook, headers={"x-bce-\ud800": "1"}),
    ),
}


def connection_of(platform: Guarded, way: str, changes: dict[str, Any]) -> str:
    """Return a connection as JSON. It is broken as ``changes`` say, and yet has all secrets."""
    changes = copy.deepcopy(changes)
    extra_is, extra = changes.pop("extra_is", ""), changes.setdefault("extra", {})
    proxies = {"ftp": f"ftp://u:{CANARIES.password}@p", "wrong": way.replace("//user", "//nobody")}
    extra["proxy"] = proxies.get(extra.get("proxy", ""), way)
    if changes.get("password") == "blank":
        changes["password"] = f"{CANARIES.key} "
    connection = platform.connection(**changes)
    text = json.dumps(connection["extra"])
    broken = {"list": f"[{text}]", "long": f'{text[:-1]}, "timeout": {"1" * 5000}}}'}
    broken["deep"] = f'{text[:-1]}, "a": {"[" * 100_000}{"]" * 100_000}}}'
    return json.dumps({**connection, "extra": broken.get(extra_is, connection["extra"])})


@pytest.mark.parametrize("way", ["connect", "socks"])
@pytest.mark.parametrize(("changes", "fault", "call"), FAILURES.values(), ids=FAILURES)
def test_no_error_shows_a_secret(
    platform: Guarded,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    changes: dict[str, Any],
    fault: Fault | None,
    call: Callable[[QianfanHook], object],
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_QIANFAN_DEFAULT", connection_of(platform, getattr(platform, way), changes)
    )
    if fault is not None:
        platform.server.world.faults.append(fault)

    error = raised(lambda: call(QianfanHook(retry=RetryPolicy(tries=1))))

    assert leaks(shown(error)) == []
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        assert leaks(pickle.dumps(error)) == []


# -- a timeout, at any moment ------------------------------------------------------------------------------

WATCHED = (
    *("airflow_provider_qianfan", "urllib3", "requests", "/http/client.py", "/socks.py", "/ssl.py"),
    "airflow/sdk/definitions/connection.py",
)
"""Where the secrets pass. ``execution_timeout`` raises its error wherever the task is at that moment."""

Place = tuple[str, int]
"""A file and a line."""


def run_until(
    strike: Callable[[FrameType, Place], bool], call: Callable[[], object], files: tuple[str, ...] = WATCHED
) -> BaseException | None:
    """
    Call something, and raise what Airflow raises at a timeout as soon as ``strike`` is true.

    Return the error that comes of it: a library may replace it.
    """

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not any(part in frame.f_code.co_filename for part in files):
            return None
        if event == "line" and strike(frame, (frame.f_code.co_filename, frame.f_lineno)):
            raise AirflowTaskTimeout("Timeout")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except BaseException as error:
        return error
    finally:
        sys.settrace(before)
    return None


def moments_of(call: Callable[[], object]) -> tuple[dict[Place, int], dict[Place, int]]:
    """
    Return at which passes through a line to raise the error.

    The first passes through lines where a variable has a secret as plain text; and all first passes.
    """
    passes, hot, cold = Counter[Place](), dict[Place, int](), dict[Place, int]()

    def note(frame: FrameType, place: Place) -> bool:
        passes[place] += 1
        cold.setdefault(place, 1)
        if place not in hot and CANARIES.found_in("".join(map(shown_value, frame.f_locals.values()))):
            hot[place] = passes[place]
        return False

    assert run_until(note, call) is None
    return hot, cold


def strike_at(wanted: Place, number: int) -> Callable[[FrameType, Place], bool]:
    """Return what is true when a line is passed for the n-th time."""
    passes = Counter[Place]()

    def strike(_: FrameType, place: Place) -> bool:
        passes[place] += 1
        return place == wanted and passes[place] == number

    return strike


def some_of(moments: dict[Place, int], count: int, chance: random.Random) -> list[tuple[Place, int]]:
    """Choose so many moments at random, spread over all parts of all files."""
    shuffled = chance.sample(list(moments.items()), len(moments))
    before, ranked = Counter[tuple[str, int]](), []
    for (file, line), number in shuffled:
        ranked.append((before[file, line // 20], (file, line), number))
        before[file, line // 20] += 1
    return [(place, number) for _, place, number in sorted(ranked, key=lambda each: each[0])[:count]]


CALLS: dict[str, Callable[[QianfanHook], object]] = {"hook": read_list, "session": ask_session}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_timeout_at_any_moment_shows_no_secret(
    request: pytest.FixtureRequest, hook: QianfanHook, call: Callable[[QianfanHook], object]
) -> None:
    def fresh() -> object:
        with QianfanHook(retry=RetryPolicy(tries=1)) as again:
            return call(again)

    fresh()  # loads what is loaded only once
    hot, cold = moments_of(fresh)
    worlds, chance = request.config.getoption("worlds"), random.Random(request.config.getoption("seed"))
    chosen = [*some_of(hot, worlds // 100, chance), *some_of(cold, worlds // 400, chance)]

    told = dict[Place, list[str]]()
    for place, number in chosen:
        error = run_until(strike_at(place, number), fresh, files=place[:1])
        if error is None:  # some lines are of destructors, which swallow it
            continue
        FIGURES["timeouts"] += 1
        if found := leaks(shown(error)):
            told[place] = found

    assert len(hot) > 10
    assert told == {}


# -- logs --------------------------------------------------------------------------------------------------


class Records(logging.Handler):
    """Keeps all that a handler of a user's could send away: whole records, and the variables of errors."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told += [self.format(record), repr(vars(record))]
        if record.exc_info and record.exc_info[1] is not None:
            self.told.append(shown(record.exc_info[1]))


@contextlib.contextmanager
def all_logs() -> Iterator[list[str]]:
    """Keep all logs at DEBUG, all warnings, and what is printed."""
    handler, root, printed = Records(), logging.getLogger(), io.StringIO()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("always")
            yield handler.told
        handler.told += [printed.getvalue(), *(repr(vars(each)) for each in warned)]
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def watch(hook: QianfanHook) -> None:
    """Wait as a triggerer does, until something calls the sensor."""

    async def first_event() -> object:
        trigger = QianfanTrigger(
            target={"version": 1, "kind": "task", "source_model_id": "amv-1"}, poke_interval=1
        )
        async for event in trigger.run():
            return event
        return None

    with contextlib.suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(first_event(), 1.5))


@pytest.mark.parametrize(
    "fault", [None, Fault(server_error=502), Fault(status=403, body="no")], ids=["good", "502", "403"]
)
def test_no_log_shows_a_secret(
    platform: Guarded,
    hook: QianfanHook,
    fault: Fault | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    if fault is not None:
        platform.server.world.faults.append(fault)

    with all_logs() as told:
        for call in (read_list, ask_session, lambda hook: hook.test_connection(), watch):
            with contextlib.suppress(Exception):
                call(hook)

    assert leaks("\n".join(told)) == []


# -- objects -----------------------------------------------------------------------------------------------


def objects(platform: Guarded, hook: QianfanHook) -> dict[str, Any]:
    """Return all objects that know a secret, or the way to one, after they have been used."""
    session, response = hook.get_conn(), ask_session(hook)
    read_list(hook)
    sensor = QianfanModelCompTaskSensor(task_id="gate", source_model_id="amv-1")
    driver = hook._driver
    assert driver is not None
    assert driver.wire._pool is not None
    request = next(hook.exchange.call(MODEL_PATH, model_compression.LIST))
    platform.server.world.faults.append(Fault(truncated_body="content_length"))
    errors = raised(lambda: read_list(hook)), raised(lambda: ask_session(hook))
    platform.server.world.faults.clear()
    return {
        "hook": hook,
        "settings": hook.settings,
        "credentials": hook.settings.credentials,
        "exchange": hook.exchange,
        "request": request,
        "headers of the request": request.headers,  # type: ignore[union-attr]
        "driver": driver,
        "wire": driver.wire,
        "route": driver.wire.route,
        "proxy": driver.wire.route.proxy,
        "connections": driver.wire._pool,
        "headers for the proxy": driver.wire._pool.proxy_headers,
        "session": session,
        "adapter": session.get_adapter(f"https://{NAME}/"),
        "signer": session.auth,
        "response": response,
        "request of the response": response.request,
        "headers of that": response.request.headers,
        "error": errors[0],
        "error of the session": errors[1],
        "sensor": sensor,
        "trigger": QianfanTrigger(target={"source_model_id": "amv-1"}),
        "watcher's trigger": QianfanModelCompTaskEventTrigger(),
        "account": asyncio.run(account()),
    }


async def account() -> Any:
    """Return what the waits of a triggerer share."""
    subscription = await join("qianfan_default", Query("amv-1"), lambda: 1.0, 0.0)
    await subscription.answer(0.0)
    await subscription.leave()
    return subscription


def reachable(root: object) -> Iterator[str | bytes]:
    """Yield each plain text that an object of ours holds, or one that it holds, and so on."""
    queue, seen = [root], set[int]()
    while queue:
        each = queue.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        if type(each) in (str, bytes, bytearray):
            yield each  # type: ignore[misc]
        elif isinstance(each, Mapping):
            queue += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset | deque):
            queue += each
        elif isinstance(each, LifoQueue):  # urllib3's connections
            queue += each.queue
        elif any(cls.__module__.startswith("airflow_provider_qianfan") for cls in type(each).__mro__):
            slots = [name for cls in type(each).__mro__ for name in getattr(cls, "__slots__", ())]
            queue += [getattr(each, name, None) for name in slots if not name.startswith("__")]
            queue += getattr(each, "__dict__", {}).values()


VIEWS: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "pprint": pprint.pformat,
    "vars": lambda each: repr(getattr(each, "__dict__", "")),
    "copy": lambda each: repr(vars(copy.copy(each))),
    "deepcopy": lambda each: repr(vars(copy.deepcopy(each))),
    "asdict": lambda each: repr(dataclasses.asdict(each)),
    "pickle": pickle.dumps,
    "pickle of a copy": lambda each: pickle.dumps(copy.copy(each)),
    "serialize": lambda each: repr(each.serialize()),
    "all that it holds": lambda each: b"\n".join(
        text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in reachable(each)
    ),
}
CANNOT = (TypeError, AttributeError, ValueError, pickle.PicklingError)
"""What a view raises if an object has no such view, or refuses it."""


def test_no_object_shows_a_secret(platform: Guarded, hook: QianfanHook) -> None:
    told, views = dict[str, list[str]](), 0
    for name, each in objects(platform, hook).items():
        for view, look in VIEWS.items():
            with contextlib.suppress(*CANNOT):
                views += 1
                if found := leaks(look(each)):
                    told[f"{view} of {name}"] = found
    FIGURES["views"] += views

    assert told == {}


# -- what is planted is found ------------------------------------------------------------------------------


def leaking(**arguments: Any) -> Any:
    """Raise an error whose frames have the arguments as variables."""
    raise ValueError("see the variables")


class Holder(QianfanError):  # noqa: N818
    """Some object of ours."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


DISGUISES: dict[str, Callable[[str], Any]] = {
    "plain": lambda text: text,
    "a part": lambda text: text[: len(text) * 2 // 3],
    "for a URL": lambda text: quote(text, safe=""),
    "JSON": json.dumps,
    "repr": repr,
    "hexadecimal": lambda text: text.encode().hex(),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 within another": lambda text: b64encode(f"u:{text}:x".encode()).decode(),
    "compressed": lambda text: zlib.compress(text.encode()),
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("name", ["key", "token", "password"])
def test_a_canary_is_found_in_any_disguise(name: str, disguise: Callable[[str], Any]) -> None:
    shown_as = disguise(getattr(CANARIES, name))

    told = shown_as if isinstance(shown_as, bytes) else shown_as.encode()
    assert name in [found for each in CANARIES.opened(told) for found in CANARIES.found_in(each)]


def test_a_signature_is_found(platform: Guarded, hook: QianfanHook) -> None:
    read_list(hook)

    assert CANARIES.found_in(f"signed {min(CANARIES.signatures).decode()}.") == ["signature"]


def test_what_an_error_or_a_log_holds_is_found() -> None:
    key = CANARIES.key
    error = raised(lambda: leaking(key=key, depth=[{"a": key}]))
    # The frames of this file are not ours: pretend that they are.
    assert CANARIES.found_in("".join(variables(error))) == ["key"]
    assert CANARIES.found_in(shown(ValueError(key))) == ["key"]
    assert CANARIES.found_in(shown(UnicodeEncodeError("ascii", key, 0, 1, "no"))) == ["key"]
    with all_logs() as told:
        logging.getLogger("urllib3").debug("%s", key)
        print(CANARIES.token)
        warnings.warn(CANARIES.password, stacklevel=1)
    assert CANARIES.found_in("\n".join(told)) == ["key", "password", "token"]


@pytest.mark.parametrize(
    "view", ["vars", "copy", "deepcopy", "pickle", "pickle of a copy", "all that it holds"]
)
def test_what_an_object_holds_is_found(view: str) -> None:
    assert CANARIES.found_in(VIEWS[view](Holder([CANARIES.key]))) == ["key"]
