"""``make cluster-down`` ends what a killed ``make cluster`` has left, and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from scripts import cluster
from tests.integration.services import tail, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAIR = [sys.executable, "-c", "import os, time; os.fork(); time.sleep(600)"]


@contextlib.contextmanager
def service(log: Path) -> Iterator[psutil.Process]:
    """Run a process that has a child, and logs to this file."""
    with (
        log.open("wb") as file,
        subprocess.Popen(PAIR, stdout=subprocess.PIPE, stderr=file, start_new_session=True) as process,
    ):
        found = psutil.Process(process.pid)
        try:
            wait_until(found.children, 30)
            yield found
        finally:
            for each in (*found.children(), found) if process.poll() is None else ():
                each.kill()


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The record of a cluster in the folder ``home``, whose script does not run any more."""
    (tmp_path / "home" / "redis").mkdir(parents=True)
    path = tmp_path / "cluster.pid"
    monkeypatch.setattr(cluster, "RUNNING", path)
    return path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cluster.py", *arguments])
    return cluster.main()


def test_what_is_left_is_ended(record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    with (
        service(home / "scheduler-1.log") as left,
        service(home / "redis" / "redis.log") as below,
        service(tmp_path / "other.log") as other,
    ):
        (child,) = left.children()
        record.write_text(f"{other.pid}\n{home}\n")  # the number is another process's by now
        assert call(monkeypatch, "--down") == 0
        psutil.wait_procs([left, below, child], timeout=30)
        assert not any(each.is_running() for each in (left, below, child))
        assert other.is_running()
    assert not home.exists()
    assert not record.read_text()


@pytest.mark.parametrize("text", ["", "{0}\n", "{0}\n/nowhere\n"])
def test_a_stale_number_is_nobody(
    text: str,
    record: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with service(tmp_path / "other.log") as other:
        record.write_text(text.format(other.pid))
        assert call(monkeypatch, "--down") == 0
        assert other.is_running()
    assert capsys.readouterr().out == "No cluster runs.\n"


def test_no_cluster_starts_beside_what_is_left(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write_text(f"1\n{tmp_path / 'home'}\n")
    with pytest.raises(SystemExit):
        call(monkeypatch)
    assert "To end them: make cluster-down" in capsys.readouterr().err


def test_no_cluster_starts_beside_one_that_runs(
    record: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with record.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711\n/nowhere\n")
        held.flush()
        with pytest.raises(SystemExit):
            call(monkeypatch)
    assert "A cluster runs, as process 4711." in capsys.readouterr().err


def test_a_wait_says_what_it_waited_for(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"After 0 s, Redis does not answer\."):
        wait_until(lambda: False, 0, "Redis does not answer")


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "redis.log"
    assert not tail(log)
    log.write_text("".join(f"{number}\n" for number in range(30)))
    assert tail(log).splitlines()[-1] == "29"
    assert "9" not in tail(log).splitlines()
