"""The tables that only a page of the documentation has."""

from __future__ import annotations

import ast
import re
from itertools import takewhile
from typing import get_args

import pytest
from starlette.routing import Route

from airflow_provider_qianfan import exceptions
from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.emulator.actions import perform
from airflow_provider_qianfan.emulator.behaviour import Account, Permission
from airflow_provider_qianfan.emulator.control import control_routes
from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.faults import ACTIONS_OF
from airflow_provider_qianfan.emulator.world import World
from airflow_provider_qianfan.gate.memory import Limits, Memory, Observer, Run, after_failure
from tests.api.steps import Drive, answer, error, page
from tests.docs.pages import ROOT, code_spans, prose, rows

AIRFLOWS_WORDS = {
    "Bad Request",
    "Connection not found.",
    "No module named 'starlette'",
    "'uvicorn'",
    "'yaml'",
    "No tasks to run. unrunnable tasks:",
    "airflow dags test",
    "The conn_id",
    "isn't defined",
    "cannot map over XCom with custom key",
}

CODES = [row for row in rows(ROOT / "docs" / "troubleshooting.md") if row[0].isdigit()]


@pytest.mark.parametrize("row", CODES, ids=lambda row: f"{row[0]}-{row[1].strip('`')}")
def test_error_codes(row: list[str]) -> None:
    status, code, exception, outcome = row
    reply = page(int(status)) if code == "none" else error(int(status), code.strip("`"))
    if status == "200":
        reply = answer({"error_code": int(code.strip("`")), "error_msg": "m"})
    exchange = Exchange(Endpoint.parse("h"), Credentials("AK", "SK"), retry=RetryPolicy(tries=1))

    met = Drive(exchange.call("/v2/model", "DescribeModelCompTasks"), [reply]).error

    assert type(met) is getattr(exceptions, exception.strip("`"))
    assert isinstance(met, QianfanError)
    memory, limits = Memory(started=0.0, last_healthy=1.0), Limits(3600.0, 600.0)
    if outcome.startswith(("fails", "signs", "reads")):
        with pytest.raises(type(met)):
            after_failure(memory, met, 2.0, limits, Run(Observer.WORKER, began=0.0))
    else:
        after_failure(memory, met, 2.0, limits, Run(Observer.WORKER, began=0.0))


def test_error_codes_are_all_there() -> None:
    from airflow_provider_qianfan.api.errors import _ADVICE

    assert set(_ADVICE) <= {row[1].strip("`") for row in CODES}


def test_the_lines_of_the_log_are_what_the_code_says() -> None:
    told = [
        span
        for page, headings in (
            ("troubleshooting.md", "the log says"),
            ("operation.md", "the line ends with, and the name of the error"),
        )
        for span in quoted(page, headings)
    ]
    pieces = {piece.strip() for span in told for piece in re.split(r"…|\d+ (?:seconds)?", span)} - {""}
    literals = {
        node.value
        for file in (ROOT / "airflow_provider_qianfan").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    unknown = {piece for piece in pieces if not any(piece in literal for literal in literals)}

    assert len(told) > 15
    assert unknown == AIRFLOWS_WORDS


def quoted(page: str, heading: str) -> list[str]:
    """Return what the first column of a table quotes."""
    lines = [line.strip() for line in prose(ROOT / "docs" / page)]
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    table = takewhile(lambda line: line.startswith("|"), lines[start:])
    return [span for row in table for span in code_spans(row.strip("|").split("|")[0])]


def test_the_actions_of_the_emulator() -> None:
    told = {
        (path.strip("`"), action.strip("`")): code_spans(permissions)
        for path, action, permissions in (
            row for row in rows(ROOT / "docs" / "emulator.md") if row[0].startswith("`/v2/")
        )
    }
    real = {
        (path, action): [
            permission for permission in get_args(Permission) if allows(path, action, permission)
        ]
        for path, actions in ACTIONS_OF.items()
        for action in actions
    }

    assert told == real


def allows(path: str, action: str, permission: Permission) -> bool:
    world = World()
    try:
        perform(world, path, action, {}, Account(permission=permission))
    except ApiError as met:
        return met.code != "AccessDenied"
    return True


def test_the_control_api() -> None:
    told = [
        (row[0], *code_spans(row[1]))
        for row in rows(ROOT / "docs" / "emulator.md")
        if row[0].isupper() and "/_emulator" in row[1]
    ]
    real = [
        (method, route.path)
        for route in control_routes(World())
        if isinstance(route, Route) and route.path != "/_emulator/{path:path}"
        for method in sorted((route.methods or set()) - {"HEAD"}, reverse=True)
    ]

    assert told == real
