"""
Show the gate on real Airflow: it waits and opens for one compression, and stays shut for another that fails.

Everything happens in a temporary folder and on loopback; nothing is left behind. The exit code tells whether
the gate behaved.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
POLL_INTERVAL = 2  # seconds; the DAG's own 30 would make you wait
CHILD_TIMEOUT = 150  # seconds; the two runs take some 35
SCENE, RESULT = "SCENE ", "RESULT "
OUR_LINE = re.compile(r"^\S+ \[(?P<level>\w+) *\] (?P<text>.*?) +\[[\w.]*airflow_provider_qianfan\.[\w.]+\]")
DEPLOY_LINE = re.compile(r"^\S+ \[info *\] (?P<text>Deploying \S+)")
ERROR_LINE = re.compile(r"^airflow_provider_qianfan\.exceptions\.(?P<text>\w+: .*)")


@dataclass(frozen=True)
class Scene:
    """A DAG run, the compression that is created while it waits, and what should come of it."""

    title: str
    source_model_id: str
    compression: dict[str, Any]
    states: dict[str, str]
    deployed: str | None


SCENES = (
    Scene(
        title="A compression that succeeds",
        source_model_id="amv-demogood0001",
        compression={
            "id": "amva-demogood0001",
            "name": "compress-good",
            "source_model_id": "amv-demogood0001",
            "timeline": [
                {"after": 0, "status": "creating"},
                {"after": 3, "status": "running"},
                {"after": 9, "status": "succeeded", "model_id": "amv-demoquant001"},
            ],
        },
        states={"wait_for_compression": "success", "deploy": "success"},
        deployed="amv-demoquant001",
    ),
    Scene(
        title="A compression that fails",
        source_model_id="amv-demofail0001",
        compression={
            "id": "amva-demofail0001",
            "name": "compress-fail",
            "source_model_id": "amv-demofail0001",
            "timeline": [
                {"after": 0, "status": "creating"},
                {"after": 3, "status": "running"},
                {"after": 7, "status": "failed", "failed_reason": "the calibration data set is empty"},
            ],
        },
        states={"wait_for_compression": "failed", "deploy": "upstream_failed"},
        deployed=None,
    ),
)

# A success of the same source model, days old: opening for it would deploy the wrong model.
LEFT_OVER = """
tasks:
  - id: amva-lastweek0001
    name: compress-last-week
    source_model_id: amv-demogood0001
    created: -432000
    timeline:
      - {after: 0, status: succeeded, model_id: amv-lastweek00001}
"""


def main() -> int:
    """Run the demo and tell how it went."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qianfan-demo-") as folder:
        home = Path(folder)
        say("Preparing Airflow (SQLite, in a temporary folder)")
        environment = airflow_environment(home)
        subprocess.run(
            [BIN / "airflow", "db", "migrate"], env=environment, check=True, capture_output=True, timeout=120
        )
        with emulator(home) as (connection_uri, url):
            say(f"Qianfan emulator at {url}")
            environment["AIRFLOW_CONN_QIANFAN_DEFAULT"] = connection_uri
            results = run_scenes(environment, url)
    say("Summary")
    verdicts = [verdict(scene, result) for scene, result in zip(SCENES, results, strict=True)]
    for scene, (behaved, text) in zip(SCENES, verdicts, strict=True):
        print(f"  {'ok ' if behaved else 'BAD'}  {scene.title}: {text}")
    everything = all(behaved for behaved, _ in verdicts)
    print(f"  {time.monotonic() - began:.0f} s. The gate {'behaved' if everything else 'did NOT behave'}.")
    return 0 if everything else 1


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def airflow_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "NO_COLOR": "1",
        "COLUMNS": "500",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
    }


@contextlib.contextmanager
def emulator(home: Path) -> Iterator[tuple[str, str]]:
    """Start the emulator; give its connection URI and its address."""
    scenario = home / "scenario.yaml"
    scenario.write_text(LEFT_OVER)
    command = [sys.executable, "-m", "airflow_provider_qianfan.emulator", "--port", "0", "--quiet"]
    command += ["--scenario", str(scenario)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            uri = ""
            for line in process.stdout or ():
                if line.startswith("AIRFLOW_CONN_QIANFAN_DEFAULT="):
                    uri = line.strip().partition("=")[2]
                if line.strip() == "ready":
                    break
            if not uri:
                raise SystemExit("The emulator did not start.")
            yield uri, urllib.parse.unquote(uri.rpartition("@")[2])
        finally:
            process.terminate()


def run_scenes(environment: dict[str, str], url: str) -> list[dict[str, Any]]:
    """Run the DAG for each scene, in one process; return what came of each, or {} if it did not run."""
    results: list[dict[str, Any]] = []
    output: list[str] = []
    command = [sys.executable, __file__, "dag-runs"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        watchdog = threading.Timer(CHILD_TIMEOUT, process.kill)
        watchdog.start()
        try:
            scene = SCENES[0]
            for line in process.stdout or ():
                output.append(line)
                if line.startswith(SCENE):
                    scene = SCENES[int(line.removeprefix(SCENE))]
                    say(f"{scene.title}: DAG gate_deployment, source model {scene.source_model_id}")
                elif line.startswith(RESULT):
                    results.append(json.loads(line.removeprefix(RESULT)))
                else:
                    follow(line, scene, url)
        finally:
            watchdog.cancel()
            process.kill()
    if len(results) < len(SCENES):
        print("".join(output[-60:]))
    return results + [{}] * (len(SCENES) - len(results))


def follow(line: str, scene: Scene, url: str) -> None:
    """Show a line of Airflow's log if it is ours; once the gate waits, let the compression begin."""
    if told := DEPLOY_LINE.match(line):
        print(f"  deploy     {told['text']}", flush=True)
    elif told := OUR_LINE.match(line) or ERROR_LINE.match(line):
        print(f"  gate       {told['text']}", flush=True)
        if told["text"].startswith("Waiting: no task fits yet"):
            post(f"{url}/_emulator/tasks", scene.compression)
            print(f"  elsewhere  {scene.compression['id']} is created", flush=True)


def verdict(scene: Scene, result: dict[str, Any]) -> tuple[bool, str]:
    """Compare what came of a DAG run with what should have."""
    if result == {"states": scene.states, "modelId": scene.deployed, "deployed": scene.deployed}:
        return True, f"opened, and {scene.deployed} was deployed" if scene.deployed else "stayed shut"
    return False, f"expected {scene.states} and {scene.deployed} deployed, but saw {result or 'no result'}"


def post(url: str, document: dict[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310  the emulator's own
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


def dag_runs() -> None:
    """Run the DAG for each scene. In a process of its own, with Airflow's log on its standard output."""
    sys.path.insert(0, str(ROOT / "dags"))
    from gate_deployment import DAG  # type: ignore[import-not-found]

    DAG.get_task("wait_for_compression").poke_interval = POLL_INTERVAL
    for number, scene in enumerate(SCENES):
        print(f"{SCENE}{number}", flush=True)
        run = DAG.test(run_conf={"source_model_id": scene.source_model_id})
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        model_id, deployed = xcom(run, "wait_for_compression", "modelId"), xcom(run, "deploy", "return_value")
        print(RESULT + json.dumps({"states": states, "modelId": model_id, "deployed": deployed}), flush=True)


def xcom(run: Any, task_id: str, key: str) -> Any:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, task_ids=task_id, key=key)
        row = session.execute(query).scalars().first()
        return XComModel.deserialize_value(row) if row is not None else None


if __name__ == "__main__":
    if sys.argv[1:] == ["dag-runs"]:
        dag_runs()
    else:
        sys.exit(main())
