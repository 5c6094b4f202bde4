"""
Airflow and the emulator, to look at in a browser: ``make airflow``. Ctrl-C ends both.

Everything is on loopback and in a temporary folder. Nobody has to log in: this is not for production.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def main() -> int:
    """Start both, and stop both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of Airflow (default: %(default)s)")
    parser.add_argument("--emulator-port", type=int, default=8787, help="(default: %(default)s)")
    parser.add_argument("--scenario", default="demo", help="of the emulator (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    command = [sys.executable, "-m", "airflow_provider_qianfan.emulator", "--quiet"]
    command += ["--port", str(options.emulator_port), "--scenario", options.scenario]
    with (
        tempfile.TemporaryDirectory(prefix="qianfan-airflow-") as home,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as emulator,
    ):
        airflow = None
        try:
            connection = read_connection(emulator)
            if not connection:
                return 1
            url = f"http://127.0.0.1:{options.port}"
            print(f"\nAirflow will be at {url}: open the DAG gate_deployment and trigger it.")
            print("The emulator's tasks have finished some seconds after its start. To begin them again:")
            print(f"  curl -X POST http://127.0.0.1:{options.emulator_port}/_emulator/reset\n", flush=True)
            airflow = subprocess.Popen(
                [BIN / "airflow", "standalone"],
                env=environment(Path(home), options.port, connection),
                start_new_session=True,
            )
            return airflow.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            for process in (airflow, emulator):
                if process is not None:
                    end(process)


def read_connection(emulator: subprocess.Popen[str]) -> str:
    """Show what the emulator says at its start; return the connection URI, or nothing if it did not start."""
    connection = ""
    for line in emulator.stdout or ():
        print(line, end="")
        if line.startswith("export AIRFLOW_CONN_QIANFAN_DEFAULT="):
            (connection,) = shlex.split(line.partition("=")[2])
        if line.strip() == "ready":
            return connection
    return ""


def environment(home: Path, port: int, connection: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    url = f"http://127.0.0.1:{port}"
    return kept | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",  # standalone starts `airflow` by name
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_QIANFAN_DEFAULT": connection,
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    }


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    for wish, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, wish)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    sys.exit(main())
