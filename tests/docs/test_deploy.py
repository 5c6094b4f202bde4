"""Files and pages about clusters name options that Airflow has."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.configuration import retrieve_configuration_description

from tests.cluster.cluster import QUEUES
from tests.dag_runs import AIRFLOW
from tests.docs.pages import ROOT, code_spans, prose, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.skipif(AIRFLOW != (3, 3), reason="they are about Airflow 3.3, with Celery")

DEPLOY = ROOT / "docs" / "deploy"
PAGES = [ROOT / "docs" / name for name in ("cluster.md", "scaling.md")]
OPTION = re.compile(r"\[(\w+)\] (\w+)")
NOT_INSTALLED = "kubernetes_executor"


@cache
def described() -> dict[str, Any]:
    """Return Airflow's options, and those of the installed providers."""
    description: dict[str, Any] = retrieve_configuration_description(include_providers=True)
    return description


def unknown(options: Iterable[tuple[str, str]]) -> list[str]:
    known = {(section, name) for section, each in described().items() for name in each["options"]}
    return [f"[{section}] {name}" for section, name in options if (section, name) not in known]


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("docker-compose*.yml")), ids=lambda file: file.name)
def test_airflow_has_the_options_of_the_compose_file(file):
    names = re.findall(r"\bAIRFLOW__([A-Z_]+?)__([A-Z_]+)\b", file.read_text(encoding="utf-8"))

    assert unknown((section.lower(), name.lower()) for section, name in names) == []


def test_airflow_has_the_options_of_the_helm_values():
    config = yaml.safe_load((DEPLOY / "values.yaml").read_text(encoding="utf-8"))["config"]

    assert unknown((section, name) for section, options in config.items() for name in options) == []


def test_the_workers_have_the_queues_of_make_cluster():
    services = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text(encoding="utf-8"))
    commands = [service.get("command", "") for service in services.values()]

    assert re.findall(r"--queues (\w+)", " ".join(commands)) == list(QUEUES)
    assert [each["queue"] for each in values["workers"]["celery"]["sets"]] == list(QUEUES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_airflow_has_the_options_of_the_page(page):
    named = [option for line in prose(page) for span in code_spans(line) for option in OPTION.findall(span)]

    assert named
    assert unknown(option for option in named if option[0] != NOT_INSTALLED) == []


def test_the_defaults_on_the_page_are_airflows():
    table = [row for row in rows(PAGES[0]) if OPTION.fullmatch(row[0].strip("`"))]
    told = {
        tuple(row[0].strip("`[").split("] ")): row[1].replace(",", "") for row in table if row[1][0].isdigit()
    }

    defaults = {key: described()[key[0]]["options"][key[1]]["default"] for key in told}
    assert told
    assert {key: float(value.split()[0]) for key, value in told.items()} == {
        key: float(default) for key, default in defaults.items()
    }
