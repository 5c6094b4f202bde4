"""
Airflow and the emulator, to look at in a browser: ``make airflow``. Ctrl-C ends both.

Everything is on loopback and in a temporary folder. Nobody has to log in: this is not for production.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from airflow_provider_qianfan.emulator.server import EmulatorServer

ROOT = Path(__file__).resolve().parent.parent
DAGS = ROOT / "dags"
AIRFLOW = Path(sys.executable).with_name("airflow")
# Without their log servers, which listen on all addresses. The API server reads the log files itself.
COMPONENTS = ("api-server", "scheduler --skip-serve-logs", "dag-processor", "triggerer --skip-serve-logs")


def main() -> int:
    """Start both, and stop both."""
    parser = make_parser("make airflow", __doc__)
    options = parser.parse_args()
    check_ports(parser, options)
    try:
        emulator = EmulatorServer(options.scenario, port=options.emulator_port)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    os.environ |= {"no_proxy": "*", "NO_PROXY": "*"}  # everything is on loopback
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="qianfan-airflow-", ignore_cleanup_errors=True) as home,
        emulator,
    ):
        try:
            show(Path(home, "airflow.log"), options.port, emulator)
        except KeyboardInterrupt:
            return 0
    return 1


def make_parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """Make a parser with the options that ``make cluster`` has, too."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--port", type=int, default=8080, help="Airflow's port (default: %(default)s)")
    parser.add_argument(
        "--emulator-port", type=int, default=8787, help="the emulator's port (default: %(default)s)"
    )
    parser.add_argument(
        "--scenario", default="showcase", help="the emulator's scenario (default: %(default)s)"
    )
    return parser


def check_ports(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program if a port cannot be used, and say which port to choose."""
    if options.port == options.emulator_port:
        parser.error("--port and --emulator-port must differ")
    for option, port in (("--port", options.port), ("--emulator-port", options.emulator_port)):
        if not 0 < port < 65536:
            parser.error(f"{option} {port} is not a port. Choose a number from 1 to 65535")
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            given = {
                f"--{name.replace('_', '-')}": value
                for name, value in vars(options).items()
                if value != parser.get_default(name)
            }
            given[option] = port - 1 if port == 65535 else port + 1
            arguments = " ".join(f"{name} {value}" for name, value in given.items())
            why = os.strerror(error.errno or 0)
            parser.exit(2, f"Port {port}: {why}. Choose another: {parser.prog} ARGS='{arguments}'\n")


def show(log: Path, port: int, emulator: EmulatorServer) -> None:
    """Run Airflow until a component of it ends."""
    url = f"http://127.0.0.1:{port}"
    settings = environment(log.parent, port)
    say(f"The emulator is at {emulator.url}, with the scenario {emulator.world.scenario.name}.")
    say(f"Airflow is starting. This takes about half a minute. Its log is {log}.")
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            command = [AIRFLOW, *arguments]
            processes.append(
                subprocess.Popen(
                    command, env=settings, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
        return processes[-1]

    try:
        for preparation in (("db", "migrate"), ("connections", "add", *connection(emulator))):
            if start(*preparation).wait() != 0:
                break
            processes.clear()  # its number may be another process's by the end
        else:
            components = [start(*component.split()) for component in COMPONENTS]
            ready = False
            while all(component.poll() is None for component in components):
                if not ready and (ready := healthy(url)):
                    say(f"Airflow is ready at {url}. To end it, press Ctrl-C.")
                    say("Open the DAG gate_deployment, trigger it, and watch its gate.")
                    say(f"For a DAG of your own, save its file in {DAGS}. It appears within a minute.")
                    say(f"To restart the scenario:  curl -o /dev/null -X POST {emulator.url}/_emulator/reset")
                time.sleep(1)
        say("".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]))
        say("Airflow has ended. Above are the last lines of its log.")
    finally:
        end(processes)


def say(text: str) -> None:
    print(text, flush=True)


def connection(emulator: EmulatorServer) -> list[str]:
    """Name the connection that the DAGs use, as the form would have it."""
    account, (host, _, port) = emulator.world.account, emulator.url.rpartition(":")
    document = {
        "conn_type": "qianfan",
        "host": host,
        "port": int(port),
        "login": account.access_key_id,
        "password": account.secret_access_key,
        "extra": {"session_token": account.session_token} if account.session_token else {},
    }
    return ["qianfan_default", "--conn-json", json.dumps(document)]


def environment(home: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    url = f"http://127.0.0.1:{port}"
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "builtins.str",  # none: so nobody asks for a log server
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
    }


def healthy(url: str) -> bool:
    """Tell whether all of Airflow runs."""
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=10) as answer:  # noqa: S310
            return all(part["status"] == "healthy" for part in json.load(answer).values())
    except OSError:
        return False


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes and all that they started."""
    for wish, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, wish)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


if __name__ == "__main__":
    sys.exit(main())
