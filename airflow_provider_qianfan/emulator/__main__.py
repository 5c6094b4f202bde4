"""``python -m airflow_provider_qianfan.emulator``: run the emulator until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING

from airflow_provider_qianfan.emulator.clock import RealClock
from airflow_provider_qianfan.emulator.control import describe_fault, unusual
from airflow_provider_qianfan.emulator.scenario import (
    Scenario,
    Step,
    TaskSpec,
    builtin_scenarios,
    load,
)
from airflow_provider_qianfan.emulator.server import EmulatorServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_qianfan.emulator.world import Call, World


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    if options.list_scenarios:
        for name in builtin_scenarios():
            print(f"{name:10} {load(name).description}")
        return 0
    try:
        server = EmulatorServer(options.scenario, RealClock(options.speed), options.port, options.host)
    except OSError as error:
        print(f"cannot listen on {options.host} port {options.port}: {error.strerror}", file=sys.stderr)
        return 2
    except (ValueError, OverflowError) as error:
        print(error, file=sys.stderr)
        return 2
    if not options.quiet:
        server.world.on_call = _log
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with server:
        print(f"AIRFLOW_CONN_QIANFAN_DEFAULT={server.connection_uri}")
        for line in describe(server.world):
            print(line)
        print("ready", flush=True)
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_qianfan.emulator",
        description="A local stand-in for the model-compression part of the Baidu Qianfan platform API.",
    )
    parser.add_argument("--scenario", default="demo", metavar="NAME_OR_FILE", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8787, help="default: %(default)s; 0: any free port")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; default: %(default)s")
    parser.add_argument("--speed", type=float, default=1.0, help="world seconds per second; default: 1")
    parser.add_argument("--quiet", action="store_true", help="no line per request on stderr")
    parser.add_argument("--list-scenarios", action="store_true", help="list the built-in scenarios and exit")
    return parser


def _log(call: Call) -> None:
    code = f" {call.code}" if call.code else ""
    print(
        f"{call.time:%H:%M:%S} {call.action or '(no action)'} {call.status}{code}",
        file=sys.stderr,
        flush=True,
    )


def describe(world: World) -> Iterator[str]:
    """Yield what a scenario will do, line by line."""
    scenario: Scenario = world.scenario
    for name, value in unusual(scenario.behaviour).items():
        yield f"behaviour {name}: {value}"
    for fault in scenario.faults:
        yield f"fault {describe_fault(fault)}"
    for spec in scenario.tasks:
        yield _task_line(world, spec)


def _task_line(world: World, spec: TaskSpec) -> str:
    _, created = next(spec.expand(world.started))
    title = f"{spec.id or 'amva-…'} {(spec.name or '')!r} source {spec.source_model_id}"
    times = f"{spec.repeat.count} times, every {_duration(spec.repeat.every)}: " if spec.repeat else ""
    age = f"(created {_duration(-created)} ago) " if created < 0 else ""
    if spec.repeat:
        return f"{title}: {times}{age}{spec.steps[-1].status} in the end"
    past = [step for step in spec.steps if created + step.after <= 0]
    future = spec.steps[len(past) :]
    parts = [_step(step) for step in past[-1:]]
    parts += [f"{step.status} at {_duration(created + step.after)}{_outcome(step)}" for step in future]
    return f"{title}: {age}{' → '.join(parts)}"


def _step(step: Step) -> str:
    return f"{step.status}{_outcome(step)}"


def _outcome(step: Step) -> str:
    if step.model_id:
        return f", modelId {step.model_id}"
    return f", {step.failed_reason}" if step.failed_reason else ""


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


if __name__ == "__main__":
    sys.exit(main())
