"""One promise in three modes: every cell of the outcome tables, on real services."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.scenario import TaskSpec
from airflow_provider_qianfan.emulator.schema import read
from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.integration.cells import CELLS, MODES, ROWS, SOURCE, Cell
from tests.integration.services import Services

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT = 600.0


class Outcomes:
    """What came of all cells."""

    def __init__(self, states: dict[str, str], xcoms: dict[str, dict[str, Any]], errors: Path) -> None:
        self.states = states
        self.xcoms = xcoms
        self.tries: Counter[str] = Counter()
        self.errors: dict[str, str] = {}
        lines = errors.read_text().splitlines() if errors.exists() else []
        for told in map(json.loads, lines):
            self.tries[told["task"]] += 1
            self.errors[told["task"]] = told["error"]


def play(cell: Cell, server: EmulatorServer) -> None:
    """Let a cell's tasks and faults begin once its sensor has looked."""
    if cell.row.arguments.get("key") == "wrong":
        server.world.account.secret_access_key = "another"

    def begin(_: object) -> None:
        server.world.on_call = None
        for task in cell.row.tasks:
            server.world.put(read(TaskSpec, {"source_model_id": SOURCE, **task}, cell.task_id))
        for fault in cell.row.faults:
            made = read(Fault, fault, cell.task_id)
            if made.until is not None:
                made.until += server.world.elapsed
            server.world.faults.append(made)

    server.world.on_call = begin


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Run all cells at once, on real services."""
    home = tmp_path_factory.mktemp("airflow")
    errors = home / "errors.jsonl"
    (home / "dags").mkdir()
    shutil.copy(Path(__file__).with_name("parity_dag.py"), home / "dags")
    environment = {"PARITY_ERRORS": str(errors), "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for cell in CELLS:
            server = stack.enter_context(EmulatorServer())
            environment[f"AIRFLOW_CONN_{cell.task_id.upper()}"] = server.connection_uri
            play(cell, server)
        services = stack.enter_context(Services(home, environment))
        run = services.trigger("parity")
        services.wait(run, RUN_TIMEOUT)
        states = {task["task_id"]: task["state"] for task in services.task_instances(run)}
        outcomes = Outcomes(states, {task: services.xcoms(run, task) for task in states}, errors)
    print(f"\n{table(outcomes)}\n{len(CELLS)} cells in {time.monotonic() - began:.0f} s")
    return outcomes


def table(outcomes: Outcomes) -> str:
    """Write the parity table: a line for each row, a column for each mode."""
    lines = []
    for row in ROWS:
        for soft_fail in (False, True):
            cells = [Cell(row, mode, soft_fail) for mode in MODES]
            ends = [
                f"{outcomes.states.get(cell.task_id)} {outcomes.errors.get(cell.task_id, '')}"
                for cell in cells
            ]
            same = (
                "equal"
                if len(set(ends)) == 1
                else "as promised: " + "; ".join(row.but)
                if row.but
                else "DIFFER"
            )
            name = row.name + (" + soft_fail" if soft_fail else "")
            lines.append(f"{name:50} {ends[0]:45} {same}")
    return "\n".join(lines)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.row.name}-{cell.mode}-{cell.soft_fail}")
def test_parity(outcomes: Outcomes, cell: Cell) -> None:
    assert outcomes.states[cell.task_id] == cell.state
    assert tuple(sorted(outcomes.xcoms[cell.task_id])) == cell.end.xcoms
    assert outcomes.errors.get(cell.task_id) == cell.error
    if cell.error:
        assert outcomes.tries[cell.task_id] == cell.end.tries
    if cell.end.state == "success":
        assert outcomes.xcoms[cell.task_id]["return_value"] == "amv-made00000001"
