from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from airflow_provider_qianfan.emulator.__main__ import describe, main, printable
from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.guard import LONGEST_BODY
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.world import World
from tests.emulator.client import Client

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "airflow_provider_qianfan.emulator", "--port", "0"]


def start(*options: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Start the emulator and return it with what it said until it was ready."""
    process = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if lines[-1] == "ready":
            break
    return process, lines


def url_of(lines: list[str]) -> str:
    name, _, uri = lines[0].partition("=")
    assert name == "export AIRFLOW_CONN_QIANFAN_DEFAULT"
    (uri,) = shlex.split(uri)
    return unquote(urlsplit(uri).netloc.rpartition("@")[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_starts_answers_and_stops(number: signal.Signals) -> None:
    process, lines = start("--speed", "1000")
    try:
        with Client(url_of(lines)) as client:
            assert len(client.ids()) == 3
            client.post("DescribeModelCompTask")
    finally:
        process.send_signal(number)
        _, errors = process.communicate(timeout=5)
    assert process.returncode == 0
    assert lines[-1] == "ready"
    assert (
        "amva-demogood0001 'compress-good' source amv-demogood0001: "
        "creating → running at 2 s → succeeded at 8 s, modelId amv-demoquant001"
    ) in lines
    first, second = errors.splitlines()
    assert first.endswith(" DescribeModelCompTasks 200")
    assert second.endswith(" DescribeModelCompTask 400 InappropriateJSON")


def test_checks_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("stubs: [{path: /v2/x, action: Do}]\ntasks: [{id: amva-1, source_model_id: amv-1}]\n")
    assert main(["--check", str(path)]) == 0
    assert capsys.readouterr().out == "stub /v2/x Do\namva-1 '' source amv-1: running\n"
    path.write_text("tasks: [{sourceModelId: amv-1}]\n")
    assert main(["--check", str(path)]) == 2
    assert "tasks[0]: unknown key 'sourceModelId'; allowed: " in capsys.readouterr().err


def test_says_what_is_unusual_and_can_be_quiet(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("behaviour: {marker: exclusive}\nfaults: [{calls: [2], server_error: 502}]\n")
    process, lines = start("--quiet", "--scenario", str(path))
    try:
        with Client(url_of(lines)) as client:
            client.page()
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=5)
    assert errors == ""
    assert lines[1:] == ["behaviour marker: exclusive", "fault * calls=(2,) server_error=502", "ready"]


def test_says_what_becomes_of_versions_and_services() -> None:
    world = World(
        {
            "models": [
                {"id": "amv-one", "timeline": [{"status": "Creating"}, {"after": 5, "status": "Ready"}]}
            ],
            "services": [
                {
                    "id": "svco-one",
                    "name": "chat",
                    "model_id": "amv-old",
                    "created": -10,
                    "timeline": [
                        {"run_status": "Serving"},
                        {"after": 13, "update_status": "Updating"},
                        {"after": 15, "update_status": "None", "model_id": "amv-one"},
                    ],
                }
            ],
        },
        ManualClock(),
    )
    assert list(describe(world)) == [
        "amv-one '' set am-emulated0001: Creating → Ready at 5 s",
        (
            "svco-one 'chat' version amv-old: (created 10 s ago) Serving"
            " → updateStatus Updating at 3 s → updateStatus None at 5 s, modelId amv-one"
        ),
    ]


ODD = "\x1b[2J\x1b]0;owned\x07\r\n\u202e\u2028\ud800"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 千帆 é", "plain 千帆 é"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
        ("\x9b\u202e\u2028\ud800\ufeff", "\\x9b\\u202e\\u2028\\ud800\\ufeff"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_log_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        json.dumps({"tasks": [{"id": ODD, "name": ODD, "source_model_id": "x", "status": "running"}]})
    )
    process, lines = start("--scenario", str(path))
    try:
        with Client(url_of(lines)) as client:
            action = "Odd%1B%5B2J%0D%0A12:00:00%20Forged%20200%E2%80%AE"
            client.http.post(f"{client.url}/v2/model?Action={action}")
            client.http.post(f"{client.url}/v2/model?Action={'x' * 50_000}")
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=5)
    assert len(lines) == 3
    assert all(line.isprintable() for line in [*lines, *errors.splitlines()])
    first, second = errors.splitlines()
    assert "Odd\\x1b[2J\\r\\n12:00:00 Forged 200\\u202e 403 AccessDenied" in first
    assert len(second) < 200


def test_what_is_refused_is_in_the_log() -> None:
    process, lines = start()
    try:
        with Client(url_of(lines)) as client:
            reset = f"{client.url}/_emulator/reset"
            odd = "/v2/model%1B%5B2J%0D%0A12:00:00%20Forged%E2%80%AE"
            for url, headers, content in (
                (reset, {"Host": "evil.example"}, b""),
                (reset, {"Host": "evil.example\x85\xff" + "x" * 5000}, b""),
                (f"{client.url}{odd}", {"Origin": "http://evil.example"}, b""),
                (f"{client.url}{odd}{'x' * 5000}", {"Sec-Fetch-Site": "cross-site" + "x" * 5000}, b""),
                (reset, {}, b" " * (LONGEST_BODY + 1)),
            ):
                raw = {name: value.encode("latin-1") for name, value in headers.items()}
                assert client.http.post(url, headers=raw, content=content).status_code in (403, 413, 421)
            assert client.http.get(f"{client.url}/_emulator/state").json()["calls"] == {}
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=5)
    said = [line.partition(" ")[2] for line in errors.splitlines()]
    assert len(said) == 5
    assert said[0] == "POST /_emulator/reset 421 refused: Host: evil.example"
    assert said[1].startswith("POST /_emulator/reset 421 refused: Host: evil.example\\x85\xffxxx")
    assert said[2] == (
        "POST /v2/model\\x1b[2J\\r\\n12:00:00 Forged\\u202e 403 refused: Origin: http://evil.example"
    )
    assert " 403 refused: Sec-Fetch-Site: cross-sitexxx" in said[3]
    assert said[4] == f"POST /_emulator/reset 413 refused: a body of more than {LONGEST_BODY} bytes"
    assert all(line.isprintable() and len(line) < 600 for line in errors.splitlines())


def test_answers_also_if_nobody_reads_the_log() -> None:
    process, lines = start()
    try:
        assert process.stderr is not None
        process.stderr.close()
        with Client(url_of(lines)) as client:
            for _ in range(3):
                assert client.post("DescribeModelCompTasks", {}).status_code == 200
    finally:
        process.terminate()
        process.wait(5)
    assert process.returncode == 0


def test_complaints_are_escaped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "odd\x1b[2J.yaml"
    path.write_text('"fau\\x1blts": []\n')
    assert main(["--scenario", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.removesuffix("\n").isprintable()
    assert "odd\\x1b[2J.yaml: unknown key" in said


def test_more_names(tmp_path: Path) -> None:
    process, lines = start("--allow-host", "one.test", "--allow-host", "two.test")
    try:
        with Client(url_of(lines)) as client:
            state = f"{client.url}/_emulator/state"
            hosts = ("one.test", "two.test", "three.test")
            assert [client.http.get(state, headers={"Host": host}).status_code for host in hosts] == [
                200,
                200,
                421,
            ]
    finally:
        process.terminate()
        process.communicate(timeout=5)


def test_list_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-scenarios"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["busy", "demo", "deploy", "history", "showcase", "stormy"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--host", "0.0.0.0"], "'0.0.0.0' is not a loopback address"),
        (["--scenario", "nope"], "nope: neither a readable file"),
        (["--speed", "0"], "speed must be above 0"),
        (["--port", "70000"], "port"),
        (["--allow-host", "http://x"], "'http://x' is not a host name"),
        (["--allow-host", "*"], "'*' is not a host name: there are no wildcards"),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], options: list[str], hint: str) -> None:
    assert main(options) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert hint in said.err


def test_bad_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("faults: [{latncy: 1}]")
    assert main(["--scenario", str(path)]) == 2
    assert f"{path}.faults[0]: unknown key 'latncy'; allowed: action, after" in capsys.readouterr().err


def test_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with EmulatorServer() as emulator:
        assert main(["--port", str(emulator.port)]) == 2
    assert (
        f"cannot listen on 127.0.0.1 port {emulator.port}: Address already in use" in capsys.readouterr().err
    )
