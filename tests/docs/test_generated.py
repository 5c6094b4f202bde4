"""The generated parts of the pages are what ``make pages`` would write."""

from __future__ import annotations

import re

import pytest

from benchmarks import table
from scripts import pages, proof
from tests.docs.pages import PAGES, ROOT
from tests.proof.changes_stage import DONE, NOT_DONE, READS, SLOW
from tests.proof.qianfan import ENDS, READS_AGAIN


def test_the_pages() -> None:
    made = pages.parts()

    differ = [page.name for page in made if pages.fill(text := page.read_text("utf-8"), made[page]) != text]

    assert differ == [], "run make pages"
    assert {page for page in PAGES if " made by make pages " in page.read_text("utf-8")} == set(made)


def test_the_plots() -> None:
    for name, plot in table.plots(table.read(ROOT / "benchmarks" / "results.json")).items():
        assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == plot, "run make pages"


@pytest.mark.parametrize("text", ["", "<!-- a: made by make pages -->\n\n<!-- end of a -->", "one"])
def test_a_part_without_a_place_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="places and parts differ"):
        pages.fill(text, {"one": "made"})


def test_a_part_is_replaced() -> None:
    text = "before\n<!-- one: made by make pages -->\nold\n\n<!-- end of one -->\nafter"

    filled = pages.fill(text, {"one": "new\nlines"})

    assert filled == "before\n<!-- one: made by make pages -->\nnew\nlines\n<!-- end of one -->\nafter"


@pytest.mark.parametrize("fault", sorted({*READS_AGAIN, *ENDS, *NOT_DONE, *DONE, *SLOW, *READS}))
def test_a_fault_begins_with_its_place(fault: str) -> None:
    assert fault.partition(": ")[0] in proof.PLACES


def test_faults_are_counted_by_place() -> None:
    found = {
        "one": {"faults": {"worker: dies": 9, "HTTP: 503": 1}},
        "two": {"faults": {"HTTP: 503": 1, "HTTP: 408": 5}},
    }

    assert proof.faults(found) == [("HTTP", "408", 5), ("HTTP", "503", 2), ("worker", "dies", 9)]


def test_pages_read_well_without_being_built() -> None:
    """An include or a substitution would leave a page half empty in a checkout."""
    directives = re.compile(r"^ *```\{(?!toctree\})(\w+)\}|\{\{ \w+ \}\}$|\{\w+:\w+\}`", re.MULTILINE)
    elsewhere = {"changelog.md", "contributing.md", "security.md"}  # they say where the text is
    whole = [page for page in PAGES if page.name not in elsewhere]

    found = {str(page): directives.findall(page.read_text(encoding="utf-8")) for page in whole}

    assert {name: each for name, each in found.items() if each} == {}
