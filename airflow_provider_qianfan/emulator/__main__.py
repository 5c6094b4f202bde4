"""``python -m airflow_provider_qianfan.emulator``: run the emulator until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_qianfan.emulator.clock import RealClock
from airflow_provider_qianfan.emulator.control import describe_fault, unusual
from airflow_provider_qianfan.emulator.faults import ACTIONS_OF
from airflow_provider_qianfan.emulator.scenario import builtin_scenarios, load
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import seconds_until
from airflow_provider_qianfan.emulator.steps import AnyStep, ServiceStep, TaskStep
from airflow_provider_qianfan.emulator.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_qianfan.emulator.world import Call

S = TypeVar("S", bound=AnyStep)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    if options.check is not None:
        return _check(options.check)
    if options.list_scenarios:
        for name in builtin_scenarios():
            print(f"{name:10} {load(name).description}")
        return 0
    try:
        server = EmulatorServer(
            options.scenario, RealClock(options.speed), options.port, options.host, options.allow_host
        )
    except OSError as error:
        _say(f"cannot listen on {options.host} port {options.port}: {error.strerror}")
        return 2
    except (ValueError, OverflowError) as error:
        _say(str(error))
        return 2
    if not options.quiet:
        server.world.on_call, server.world.on_refusal = _log, _say
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with server:
        print(f"export AIRFLOW_CONN_QIANFAN_DEFAULT={shlex.quote(server.connection_uri)}")
        for line in describe(server.world):
            print(printable(line))
        print("ready", flush=True)
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_qianfan.emulator",
        description="A local stand-in for the part of the Baidu Qianfan platform API that compresses and"
        " deploys models.",
    )
    parser.add_argument("--scenario", default="demo", metavar="NAME_OR_FILE", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8787, help="default: %(default)s; 0: any free port")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; default: %(default)s")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another host name that requests may have, beside the loopback ones; may be repeated",
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="seconds of the emulator's time per second; default: 1"
    )
    parser.add_argument("--check", metavar="NAME_OR_FILE", help="say what a scenario will do, and exit")
    parser.add_argument("--quiet", action="store_true", help="print no line per request on stderr")
    parser.add_argument("--list-scenarios", action="store_true", help="list the built-in scenarios and exit")
    return parser


def _check(source: str) -> int:
    try:
        world = World(source)
    except (ValueError, OverflowError) as error:
        _say(str(error))
        return 2
    for line in describe(world):
        print(printable(line))
    return 0


def _log(call: Call) -> None:
    code = f" {call.code}" if call.code else ""
    path = "" if call.path in ACTIONS_OF else f" {call.path}"
    _say(f"{call.time:%H:%M:%S}{path} {call.action or '(no action)'} {call.status}{code}")


def _say(text: str) -> None:
    # Nobody may be reading stderr any more. That is no reason to break an answer.
    with contextlib.suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return text from clients and files as one line, without terminal control characters."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def describe(world: World) -> Iterator[str]:
    """Yield, line by line, what a scenario will do."""
    scenario = world.scenario
    for name, value in unusual(scenario.behaviour).items():
        yield f"behaviour {name}: {value}"
    for fault in scenario.faults:
        yield f"fault {describe_fault(fault)}"
    for stub in scenario.stubs:
        yield f"stub {stub.path} {stub.action}"
    for task in scenario.tasks:
        title = f"{task.id or 'amva-…'} {(task.name or '')!r} source {task.source_model_id}"
        created = seconds_until(task.created, world.started)
        if task.again_after is not None:
            again = _duration(task.again_after)
            when = f"begins when a client asks for it, and anew when one asks {again} or more after its end"
            yield f"{title}: {when}: {_story(task.steps, 0, _step)}"
        elif task.repeat:
            times = f"{task.repeat.count} times, every {_duration(task.repeat.every)}"
            yield f"{title}: {times}: {_age(created)}{task.steps[-1].status} in the end"
        else:
            yield f"{title}: {_story(task.steps, created, _step)}"
    for model in scenario.models:
        story = _story(model.steps, seconds_until(model.created, world.started), lambda step: step.status)
        yield f"{model.id or 'amv-…'} {(model.name or '')!r} set {model.model_set_id}: {story}"
    for service in scenario.services:
        story = _story(service.steps, seconds_until(service.created, world.started), _change)
        yield f"{service.id or 'svco-…'} {(service.name or '')!r} version {service.model_id}: {story}"


def _story(steps: Sequence[S], created: float, show: Callable[[S], str]) -> str:
    past = [step for step in steps if created + step.after <= 0]
    parts = [show(step) for step in past[-1:]]
    for step in steps[len(past) :]:
        what, comma, more = show(step).partition(", ")
        parts.append(f"{what} at {_duration(created + step.after)}{comma}{more}")
    return f"{_age(created)}{' → '.join(parts)}"


def _age(created: float) -> str:
    return f"(created {_duration(-created)} ago) " if created < 0 else ""


def _change(step: ServiceStep) -> str:
    update = f"updateStatus {step.update_status}" if step.update_status else None
    model = f"modelId {step.model_id}" if step.model_id else None
    return ", ".join(part for part in (step.run_status, update, model) if part)


def _step(step: TaskStep) -> str:
    outcome = f"modelId {step.model_id}" if step.model_id else step.failed_reason
    return f"{step.status}, {outcome}" if outcome else step.status


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


if __name__ == "__main__":
    sys.exit(main())
