"""The command that runs the benchmarks. The benchmarks themselves take half an hour."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.table import Result


@pytest.fixture(autouse=True)
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(command, "BUILD", tmp_path / "build")
    return tmp_path / "build"


def test_a_name_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "calls", "sining"])

    with pytest.raises(SystemExit):
        command.main()

    assert "there is no sining; choose from calls, stall, " in capsys.readouterr().err


def test_what_was_measured_is_kept_if_another_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], build: Path
) -> None:
    one = Result("signing", "one request", 1.0, "the SDK", 2.0, "µs")
    monkeypatch.setattr(sys, "argv", ["bench", "calls", "signing"])
    monkeypatch.setattr(command, "_run", lambda name: [one] if name == "signing" else [])

    assert command.main() == 1

    shown = capsys.readouterr()
    assert "| signing | one request | 1 µs | the SDK | 2 µs | 0.5 |" in shown.out
    assert shown.err == "Failed: calls.\n"
    assert [row["row"] for row in json.loads((build / "benchmarks.json").read_text())["results"]] == [
        "signing"
    ]


@pytest.mark.slow
def test_a_day_of_a_fleet_ends_each_wait_as_its_task() -> None:
    """The simulation itself checks each wait. It needs a process of its own: it changes Airflow's home."""
    steps = "from benchmarks.fleet import *; print(json.dumps(simulate(Fleet('few', 100, 4, limit=2))))"
    done = subprocess.run(
        [sys.executable, "-c", steps],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(command.__file__).parents[1],
    )
    found = json.loads(done.stdout.splitlines()[-1])

    assert sum(found["ends"].values()) == 100
    assert set(found["ends"]) <= {"succeeded", "failed", "stopped"}
    assert not found["in_vain"]
    assert found["throttled"]
    assert found["delay_max"] < 300
