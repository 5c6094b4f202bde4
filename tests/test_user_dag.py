"""The user's DAG that mypy reads uses everything that is public."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import airflow_provider_qianfan
from airflow_provider_qianfan.assets import qianfan as assets
from airflow_provider_qianfan.assets.finished import finished_tasks
from airflow_provider_qianfan.hooks import qianfan
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from tests import user_dag
from tests.public import classes, modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOT_FOR_USERS = {
    "run",  # the gate's
    *("get_ui_field_behaviour", "get_connection_form_widgets"),  # Airflow's
}


PUBLIC = [
    *modules("hooks", "operators", "sensors", "triggers"),
    "airflow_provider_qianfan.links",
    "airflow_provider_qianfan.exceptions",
]


def taken_and_returned(function: Callable[..., Any]) -> Iterator[type]:
    """Yield which of our classes the signature of a function names."""
    for annotation in inspect.signature(function).parameters.values():
        yield from ours(annotation.annotation)
    yield from ours(inspect.signature(function).return_annotation)


def ours(annotation: str) -> Iterator[type]:
    for name in re.findall(r"\w+", str(annotation)):
        value = vars(qianfan).get(name)
        if isinstance(value, type) and value.__module__.startswith(airflow_provider_qianfan.__name__):
            yield value


METHODS: dict[str, Callable[..., Any]] = {
    name: value
    for name, value in vars(QianfanHook).items()
    if inspect.isroutine(value) and not name.startswith("_") and name not in NOT_FOR_USERS
}
CLASSES: dict[str, type] = classes(*PUBLIC) | {
    value.__name__: value
    for function in (QianfanHook.__init__, *METHODS.values())
    for value in taken_and_returned(function)
}
FUNCTIONS: dict[str, Callable[..., Any]] = {"finished_tasks": finished_tasks} | {
    name: value for name, value in vars(assets).items() if name.startswith("qianfan_")
}
# What a user makes or calls, and how its parameters are declared; exceptions are only caught.
CALLED: dict[str, Callable[..., Any]] = METHODS | {
    name: value
    for name, value in CLASSES.items()
    if "__init__" in vars(value) and not issubclass(value, Exception)
}

USES = ast.parse(Path(user_dag.__file__).read_text())
USES.body = [part for part in USES.body if getattr(part, "name", "") != "mistakes"]
CALLS = [node for node in ast.walk(USES) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("name", sorted(CLASSES | FUNCTIONS))
def test_every_class_and_function_is_used(name: str) -> None:
    used = {node.id for node in ast.walk(USES) if isinstance(node, ast.Name)}

    assert name in used, f"use {name} in tests/user_dag.py, as a user would"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_of_the_hook_is_called(name: str) -> None:
    called = {call.func.attr for call in CALLS if isinstance(call.func, ast.Attribute)}

    assert name in called, f"call {name} in tests/user_dag.py, as a user would"


@pytest.mark.parametrize("name", sorted(CALLED))
def test_every_keyword_is_given(name: str) -> None:
    parameters = inspect.signature(CALLED[name]).parameters.values()
    keywords = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    given = {
        keyword.arg
        for call in CALLS
        if getattr(call.func, "id", getattr(call.func, "attr", None)) == name
        for keyword in call.keywords
    }

    assert keywords <= given, f"give {name} all of its parameters in tests/user_dag.py"
