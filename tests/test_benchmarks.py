"""The command that runs the benchmarks. The benchmarks themselves take half an hour."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import __main__ as command
from benchmarks.table import Result

if TYPE_CHECKING:
    from pathlib import Path


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
