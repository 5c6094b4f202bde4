"""One promise in three modes: every cell of the outcome tables, on real services."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import airflow_provider_qianfan
from airflow_provider_qianfan._compat import TIMEOUT
from tests.integration.cells import CELLS, MADE, MODES, ROWS, Cell
from tests.integration.stage import stages

if TYPE_CHECKING:
    from tests.integration.services import Services

pytestmark = pytest.mark.integration

RUN_TIMEOUT = 900.0
OUR_FILES = {file.name for file in Path(airflow_provider_qianfan.__file__).parent.rglob("*.py")}


class Outcomes:
    """What came of the cells."""

    def __init__(self, services: Services, run: str) -> None:
        self.services, self.run = services, run
        self.states = {task["task_id"]: task["state"] for task in services.task_instances(run)}
        self.xcoms: dict[str, dict[str, Any]] = {task: services.xcoms(run, task) for task in self.states}
        self.tries: Counter[str] = Counter()
        self.errors: dict[str, str] = {}
        self.messages: dict[str, str] = {}
        ends = services.home / "ends.jsonl"
        for told in map(json.loads, ends.read_text().splitlines() if ends.exists() else []):
            self.tries[told["task"]] += 1
            self.errors[told["task"]] = told["error"]
            self.messages[told["task"]] = told["message"]

    def lines(self, cell: Cell) -> list[tuple[str, str]]:
        """Return the level and text of the lines that we wrote to the cell's log, with its last try's."""
        log = self.services.log(self.run, cell.task_id, max(1, self.tries[cell.task_id]))
        return [
            (line["level"], line["event"])
            for line in log
            if "airflow_provider_qianfan" in (line.get("logger") or "")
            # With structlog 26, Airflow 3.1 loses the names of loggers.
            or (line.get("logger") == "task" and line.get("filename") in OUR_FILES)
        ]


@pytest.fixture(scope="module")
def outcomes(services: Services, cells: list[Cell], slots: object) -> Outcomes:
    """Run all cells at once."""
    began = time.monotonic()
    with stages(cells, services):
        run = services.trigger("parity")
        services.wait(run, RUN_TIMEOUT)
        outcomes = Outcomes(services, run)
    print(f"\n{table(outcomes, cells)}\n{len(cells)} cells in {time.monotonic() - began:.0f} s")
    return outcomes


def table(outcomes: Outcomes, cells: list[Cell]) -> str:
    """Write the parity table: a line for each row, with ``soft_fail`` and without."""
    lines = []
    for row in ROWS:
        for soft_fail in (False, True):
            found = {cell.mode: cell for cell in cells if cell.row is row and cell.soft_fail is soft_fail}
            if found.keys() != MODES.keys():
                continue
            ends = {
                mode: " ".join(
                    (
                        str(outcomes.states.get(cell.task_id)),
                        outcomes.errors.get(cell.task_id, "").replace("NoneType", ""),
                        "retried" if outcomes.tries[cell.task_id] > 1 else "",
                        f"[{', '.join(sorted(outcomes.xcoms[cell.task_id]))}]",
                    )
                )
                for mode, cell in found.items()
            }
            others = [f"{mode} {end}" for mode, end in ends.items() if end != ends["poke"]]
            same = ("as promised: " if row.but else "DIFFER: ") + "; ".join(others) if others else "equal"
            lines.append(f"{row.name + (' + soft_fail' if soft_fail else ''):66} {ends['poke']:66} {same}")
    return "\n".join(lines)


each_cell = pytest.mark.parametrize(
    "cell", CELLS, ids=lambda cell: f"{cell.row.name}-{cell.mode}{'-soft_fail' if cell.soft_fail else ''}"
)


@each_cell
def test_parity(outcomes: Outcomes, cell: Cell) -> None:
    assert outcomes.states[cell.task_id] == cell.state
    assert tuple(sorted(outcomes.xcoms[cell.task_id])) == cell.end.xcoms
    assert outcomes.errors.get(cell.task_id) == cell.error
    if cell.error:
        assert outcomes.tries[cell.task_id] == cell.end.tries
    if cell.end.state == "success":
        assert outcomes.xcoms[cell.task_id]["return_value"] == MADE
    if cell.end.says and cell.state == "failed":
        assert re.search(cell.end.says, outcomes.messages[cell.task_id])


@pytest.mark.parametrize(
    "cell",
    [cell for cell in CELLS if cell.state == "failed" and "Timed out" in cell.end.says],
    ids=lambda cell: f"{cell.row.name}-{cell.mode}",
)
def test_a_timeout_counts_from_the_first_look_of_its_try(outcomes: Outcomes, cell: Cell) -> None:
    after = re.search(
        r"after (?:(\d+) minutes? ?)?(?:(\d+) seconds? )?\((\w+)\)", outcomes.messages[cell.task_id]
    )

    assert after
    lasted, limit = 60 * int(after[1] or 0) + int(after[2] or 0), cell.row.arguments[after[3]]
    # How late a busy machine is, is not ours to promise. Counted from the first try, it would be longer than
    # the pause between the tries, too.
    pause = cell.row.arguments.get("retry_delay", float("inf"))
    if cell.mode == "reschedule" and not TIMEOUT.is_there() and cell.end.tries > 1:
        assert lasted >= limit + pause
    else:
        assert limit <= lasted < limit + pause


@each_cell
def test_no_line_is_written_twice(outcomes: Outcomes, cell: Cell) -> None:
    lines = outcomes.lines(cell)

    assert lines
    assert len(set(lines)) == len(lines)
