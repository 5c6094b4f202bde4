"""No sample needs a logical date: an Airflow 3 run triggered without one has no ``ds`` either."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import PAGES, ROOT, all_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATES = {
    *("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "yesterday_ds", "tomorrow_ds"),
    *("logical_date", "execution_date", "data_interval_start", "data_interval_end"),
    *("prev_data_interval_start_success", "prev_data_interval_end_success", "task_instance_key_str"),
}
TEMPLATE = re.compile(r"\{\{(.*?)\}\}|\{%(.*?)%\}", re.DOTALL)
# Not what comes behind a dot, which is an attribute, or behind a bar, which is a filter.
NAME = re.compile(r"(?<![\w.|])(?<!\|\s)[A-Za-z_]\w*")
SOURCES = sorted([*ROOT.glob("dags/*.py"), *ROOT.glob("airflow_provider_qianfan/**/*.py")])


def in_templates(text: str) -> set[str]:
    """Return what the templates in a text take from the logical date; ``dag_run.logical_date``, too."""
    inside = " ".join("".join(found) for found in TEMPLATE.findall(text))
    return {name for name in NAME.findall(inside) if name in DATES} | set(
        re.findall(r"\.(logical_date|execution_date|data_interval_\w+)", inside)
    )


def in_python(code: str) -> set[str]:
    """Return what a DAG takes from the logical date: in templates, from its context, or as an argument."""
    return in_templates(code) | set(_names(ast.parse(code)))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            name = node.slice.value
        elif isinstance(node, ast.Attribute):
            name = node.attr if node.attr.endswith("_date") else None
        if name in DATES:
            yield str(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_template_of_a_page(page: Path) -> None:
    assert in_templates(page.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_no_block(block: object) -> None:
    assert in_python(block.code) == set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT)))
def test_no_dag_and_no_docstring(source: Path) -> None:
    assert in_python(source.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("'{{ ds_nodash }}'", {"ds_nodash"}),
        ("'{{ ds }} {{ ts }}'", {"ds", "ts"}),
        ("'{{ macros.ds_add(ds, 1) }}'", {"ds"}),
        ("'{{ dag_run.logical_date }}'", {"logical_date"}),
        ("'{% if data_interval_end %}{% endif %}'", {"data_interval_end"}),
        ("'''{{\n  logical_date\n}}'''", {"logical_date"}),
        ("def deploy(model_id, ds=None): ...", {"ds"}),
        ("context['logical_date']", {"logical_date"}),
        ("dag_run.execution_date", {"execution_date"}),
        ("'{{ dag_run.run_after | ds_nodash }} {{ run_id|ds }}'", set()),
        ("'{{ params.ds }}'; ds = 1", set()),
    ],
)
def test_it_would_be_found(code: str, found: set[str]) -> None:
    assert in_python(code) == found
