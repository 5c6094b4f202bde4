"""
Once means once, on real sockets: through a CONNECT proxy and TLS, and with processes that stop and die.

All sequences of mishaps are in ``tests/changes/test_once.py``, in virtual time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import certifi
import pytest

from airflow_provider_qianfan.api.errors import QianfanConfigurationError, QianfanTransientError
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec
from airflow_provider_qianfan.emulator.steps import ServiceStep
from tests.faults import proxy
from tests.faults.connect import ConnectProxy
from tests.faults.once import MADE, SERVICE, SOURCE, Try
from tests.faults.proxy import FaultProxy
from tests.faults.tls import NAME, TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.world import World

pytestmark = pytest.mark.faults

ACTIONS = {"create": "CreateModelCompTask", "swap": "ModifyService"}
BEFORE = {"create": "DescribeModel", "swap": "DescribeService"}
"""The last request before it."""


@pytest.fixture
def platform() -> Iterator[EmulatorServer]:
    with EmulatorServer(allowed_hosts=(NAME,)) as server:
        server.world.models.add(ModelSpec(id=SOURCE))
        server.world.models.add(ModelSpec(id=MADE))
        server.world.services.add(ServiceSpec("amv-old", id=SERVICE, run_status="Serving"))
        server.world.behaviour.list_lag = 1.0
        server.world.behaviour.update_seconds = 0.5
        yield server


@dataclass
class Stage:
    """What stands between a try and the platform."""

    what: str
    world: World
    folder: Path
    stack: ExitStack
    url: str
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def action(self) -> str:
        return ACTIONS[self.what]

    def asked(self) -> int:
        """How often the platform was asked to do it."""
        return self.world.count(self.action)

    def once_asked(self) -> Callable[[], bool]:
        """Make a question whose answer is yes once: as soon as the platform has been asked."""
        answers = iter([True])
        return lambda: self.asked() > 0 and next(answers, False)

    def tls(self, break_when: Callable[[], bool] = lambda: False) -> TlsServer:
        server = self.stack.enter_context(TlsServer(self.url, self.folder, break_when))
        self.url, self.more["verify"] = server.url, str(server.certificate)
        return server

    def behind_a_proxy(self, cut_when: Callable[[], bool] = lambda: False) -> ConnectProxy:
        between = ConnectProxy(self.tls().address, cut_when=cut_when)
        self.stack.enter_context(between)
        self.url, self.more["proxy"] = f"https://{NAME}", between.url
        return between

    def a_try(self, number: int = 1, **more: Any) -> Try:
        account = self.world.account
        key = (account.access_key_id, account.secret_access_key)
        return Try(self.what, self.url, key, str(self.folder / "kept"), number, **{**self.more, **more})

    def until_it_succeeds(self, first: int = 1) -> int:
        """Try as a task with retries does, and tell how many tries it took."""
        for number in range(first, first + 5):
            try:
                self.a_try(number).run()
            except QianfanTransientError as error:
                print(f"{number}: {error}", file=sys.stderr)
            else:
                return number
        raise AssertionError("no try succeeded")

    def begin(self, **more: Any) -> subprocess.Popen[bytes]:
        """Begin a try in a process of its own."""
        given = json.dumps(asdict(self.a_try(**more)))
        return subprocess.Popen([sys.executable, "-m", "tests.faults.once", given])


@pytest.fixture(params=ACTIONS)
def stage(request: pytest.FixtureRequest, platform: EmulatorServer, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(request.param, platform.world, tmp_path, stack, platform.url)


def check_once(stage: Stage, *, asked: int = 1) -> None:
    assert stage.asked() == asked
    if stage.what == "create":
        assert len(stage.world.tasks) == 1


def reset_after_it_arrived(stage: Stage) -> None:
    stage.behind_a_proxy(cut_when=stage.once_asked())


def plain_text_within_tls(stage: Stage) -> None:
    stage.tls(break_when=stage.once_asked())


def closed_before_the_answer(stage: Stage) -> None:
    between = stage.stack.enter_context(FaultProxy(stage.url))
    stage.url, struck = between.url, stage.once_asked()

    def strike(call: Any) -> None:
        if call.action == stage.action and struck():
            between.mode = proxy.PASS  # which closes the connections that are open

    stage.world.on_call = strike


def error_after_the_effect(stage: Stage) -> None:
    stage.world.faults.append(Fault(action=stage.action, server_error=504, performs=True, calls=(1,)))


def later_than_the_timeout(stage: Stage) -> None:
    stage.world.faults.append(Fault(action=stage.action, latency=1.5, calls=(1,)))


def rate_limit_and_then_a_lost_answer(stage: Stage) -> None:
    """The rate limit lasts longer than ``settle``."""
    stage.world.faults.append(Fault(action=stage.action, rate_limit=True, retry_after=4, calls=(1,)))
    stage.world.faults.append(Fault(action=stage.action, server_error=504, performs=True, calls=(2,)))


def error_without_an_effect(stage: Stage) -> None:
    stage.world.faults.append(Fault(action=stage.action, server_error=503, calls=(1,)))


MISHAPS: dict[str, tuple[Callable[[Stage], None], int, int]] = {
    # how often the platform is asked, and how many tries it takes
    "the proxy resets the tunnel after it arrived": (reset_after_it_arrived, 1, 1),
    "plain text within TLS after it arrived": (plain_text_within_tls, 1, 1),
    "a connection that is closed before the answer": (closed_before_the_answer, 1, 1),
    "504 after the effect": (error_after_the_effect, 1, 1),
    "an effect after the timeout": (later_than_the_timeout, 1, 1),
    "429 for longer than settle, then 504 after the effect": (rate_limit_and_then_a_lost_answer, 2, 1),
    "503 without an effect": (error_without_an_effect, 2, 2),
}


@pytest.mark.parametrize(("mishap", "asked", "tries"), MISHAPS.values(), ids=MISHAPS)
def test_once(stage: Stage, mishap: Callable[[Stage], None], asked: int, tries: int) -> None:
    mishap(stage)

    assert stage.until_it_succeeds() == tries

    check_once(stage, asked=asked)


def test_nothing_is_noted_that_did_not_leave(stage: Stage) -> None:
    """The certificate is refused in the handshake; the proxy refuses the tunnel; nobody listens."""
    stage.behind_a_proxy()
    good = stage.a_try()
    for wrong in (
        {"verify": certifi.where()},
        {"proxy": f"http://user:wrong@{good.proxy.removeprefix('http://')}x"},  # type: ignore[union-attr]
    ):
        with pytest.raises(QianfanConfigurationError):
            stage.a_try(**wrong).run()
    with pytest.raises(QianfanTransientError):
        stage.a_try(proxy="http://127.0.0.1:1").run()

    assert not (stage.folder / "kept").exists()
    assert stage.asked() == 0


def test_a_process_that_stood_still_between_note_and_sending(stage: Stage) -> None:
    """Its next try has done it meanwhile, and somebody else has done away with that of a swap."""
    frozen = stage.begin(stop=True)
    _, status = os.waitpid(frozen.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert stage.asked() == 0

    stage.until_it_succeeds(first=2)
    if stage.what == "swap":
        stage.world.services.change(SERVICE, ServiceStep(model_id="amv-rolled-back", update_status="None"))
    os.kill(frozen.pid, signal.SIGCONT)
    frozen.wait(60)

    check_once(stage)


@pytest.mark.parametrize("after", [True, False], ids=["after the effect", "before it"])
def test_a_process_that_is_killed(stage: Stage, after: bool) -> None:
    moment = stage.action if after else BEFORE[stage.what]
    doomed: list[subprocess.Popen[bytes]] = []

    def kill(call: Any) -> None:
        if call.action == moment and doomed:
            doomed.pop().kill()

    stage.world.on_call = kill
    doomed.append(stage.begin())
    assert doomed[0].wait(60) == -signal.SIGKILL

    stage.until_it_succeeds(first=2)

    check_once(stage)
