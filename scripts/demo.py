"""
Show the whole path on real Airflow: a model is compressed, deployed, and rolled back if it misbehaves.

Everything happens in a temporary folder and on loopback; nothing is left behind. The exit code tells whether
the gate behaved.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
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
CHILD_TIMEOUT = 170  # seconds; the three runs take some 60
SCENE, RESULT = "SCENE ", "RESULT "
START_LINE = re.compile(r"\[DAG TEST\] starting task_id=(?P<task>\S+)")
OUR_LINE = re.compile(r"^\S+ \[\w+ *\] (?P<text>.*?) +\[[\w.]*airflow_provider_qianfan\.[\w.]+\]")
DAG_LINE = re.compile(r"^\S+ \[info *\] (?P<text>(Checking|Deployed) \S+)")
ERROR_LINE = re.compile(r"^(?P<text>RuntimeError: .*)")
CREATED_LINE = re.compile(r"The model compression task is (?P<id>\S+)\.")

SOURCE, SET, SERVICE, BEFORE = "amv-demogood0001", "am-demoset00001", "svco-demochat0001", "amv-demostale001"
ALL = ("compress", "wait_for_compression", "deploy", "smoke_check", "announce", "find_previous", "roll_back")


@dataclass(frozen=True)
class Scene:
    """A DAG run: what happens on the platform while it waits, and what should come of it."""

    title: str
    states: dict[str, str]
    served: str
    """The version that the service ends with; ``{new}`` stands for the one that the compression made."""
    compression_fails: bool = False
    check_fails: bool = False


SCENES = (
    Scene(
        title="A model is compressed and deployed",
        states={**dict.fromkeys(ALL, "success"), "find_previous": "skipped", "roll_back": "skipped"},
        served="{new}",
    ),
    Scene(
        title="A compression fails, and the service is not touched",
        states={
            "compress": "success",
            "wait_for_compression": "failed",
            **dict.fromkeys(("deploy", "smoke_check", "announce"), "upstream_failed"),
            **dict.fromkeys(("find_previous", "roll_back"), "skipped"),
        },
        served="the one before",
        compression_fails=True,
    ),
    Scene(
        title="A compressed model misbehaves, and the service is rolled back",
        states={**dict.fromkeys(ALL, "success"), "smoke_check": "failed", "announce": "upstream_failed"},
        served="the one before",
        check_fails=True,
    ),
)

# A success of the same source model, days old, is there, too: to deploy it would be wrong.
SCENARIO = f"""
models:
  - {{id: {SOURCE}, name: finetuned, model_set_id: {SET}, created: -864000}}
  - {{id: {BEFORE}, name: last week's, model_set_id: {SET}, created: -432000}}
tasks:
  - id: amva-lastweek0001
    name: compress-last-week
    source_model_id: {SOURCE}
    created: -432000
    timeline:
      - {{after: 0, status: succeeded, model_id: amv-lastweek00001}}
created_tasks:
  timeline:
    - {{after: 0, status: creating}}
    - {{after: 2, status: running}}
    - after: 6
      status: succeeded
      model_id: amv-demoquant{{n}}
      model_timeline:
        - {{after: 0, status: Creating}}
        - {{after: 3, status: Ready}}
behaviour:
  update_seconds: 3
services:
  - {{id: {SERVICE}, name: chat, model_set_id: {SET}, model_id: {BEFORE}, created: -432000}}
"""


def main() -> int:
    """Run the demo and tell how it went."""
    os.environ |= {"no_proxy": "*", "NO_PROXY": "*"}  # everything is on loopback
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qianfan-demo-") as folder:
        home = Path(folder)
        say("Preparing Airflow (SQLite, in a temporary folder)")
        environment = airflow_environment(home)
        subprocess.run(
            [BIN / "airflow", "db", "migrate"], env=environment, check=True, capture_output=True, timeout=120
        )
        with emulator(home) as (connection_uri, url):
            say(f"Qianfan emulator at {url}; DAG compress_and_deploy")
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


def tell(who: str, text: str) -> None:
    print(f"  {who:20}  {text}", flush=True)


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
    scenario.write_text(SCENARIO)
    command = [sys.executable, "-m", "airflow_provider_qianfan.emulator", "--port", "0", "--quiet"]
    command += ["--scenario", str(scenario)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            uri = ""
            for line in process.stdout or ():
                if line.startswith("export AIRFLOW_CONN_QIANFAN_DEFAULT="):
                    (uri,) = shlex.split(line.partition("=")[2])
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
            scene, before, task = SCENES[0], BEFORE, ""
            for line in process.stdout or ():
                output.append(line)
                if line.startswith(SCENE):
                    scene, before = SCENES[int(line.removeprefix(SCENE))], served(url)
                    say(scene.title)
                    tell("platform", f"service {SERVICE} serves {before}")
                elif line.startswith(RESULT):
                    result = {
                        **json.loads(line.removeprefix(RESULT)),
                        "before": before,
                        "served": served(url),
                    }
                    tell("platform", f"service {SERVICE} serves {result['served']}")
                    results.append(result)
                elif started := START_LINE.search(line):
                    task = started["task"]
                else:
                    follow(line, task, scene, url)
        finally:
            watchdog.cancel()
            process.kill()
    if len(results) < len(SCENES):
        print("".join(output[-60:]))
    return results + [{}] * (len(SCENES) - len(results))


def follow(line: str, task: str, scene: Scene, url: str) -> None:
    """Show a line of a task's log if it is ours, or the DAG's; let the compression fail if it is to."""
    if told := DAG_LINE.match(line) or ERROR_LINE.match(line):
        tell(task, told["text"])
    elif (told := OUR_LINE.match(line)) and told["text"] != "Success criteria met. Exiting.":
        tell(task, told["text"])
        if scene.compression_fails and (created := CREATED_LINE.match(told["text"])):
            reason = {"status": "failed", "after": 4, "failed_reason": "the calibration data set is empty"}
            call(f"{url}/_emulator/tasks/{created['id']}", reason)
            tell("platform", "the calibration data set turns out to be empty")


def verdict(scene: Scene, result: dict[str, Any]) -> tuple[bool, str]:
    """Compare what came of a DAG run with what should have."""
    expected = result.get("model_id") if scene.served == "{new}" else result.get("before")
    if result and result["states"] == scene.states and expected == result["served"]:
        return True, f"the service serves {expected}"
    return False, f"expected {scene.states} and {expected} served, but saw {result or 'no result'}"


def served(url: str) -> str:
    """Tell which model version the service serves."""
    (service,) = call(f"{url}/_emulator/state")["services"]
    return str(service["modelId"])


def call(url: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call the emulator's own API."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        state: dict[str, Any] = json.load(answer)
    return state


def dag_runs() -> None:
    """Run the DAG for each scene. In a process of its own, with Airflow's log on its standard output."""
    sys.path.insert(0, str(ROOT / "dags"))
    from compress_and_deploy import DAG  # type: ignore[import-not-found]

    for task in DAG.tasks:
        task.retries = 0
        if hasattr(task, "poke_interval"):
            task.poke_interval = POLL_INTERVAL
    good_check = DAG.get_task("smoke_check").python_callable
    for number, scene in enumerate(SCENES):
        print(f"{SCENE}{number}", flush=True)
        DAG.get_task("smoke_check").python_callable = bad_check if scene.check_fails else good_check
        conf = {"source_model_id": SOURCE, "model_set_id": SET, "service_id": SERVICE}
        run = DAG.test(run_conf=conf)
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        result = {"states": states, "model_id": xcom(run, "wait_for_compression", "modelId")}
        print(RESULT + json.dumps(result), flush=True)


def bad_check(model_id: str) -> str:
    logging.getLogger("compress_and_deploy").info("Checking %s", model_id)
    raise RuntimeError(f"{model_id} talks nonsense")


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
