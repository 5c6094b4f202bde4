"""The Chinese pages say what the English ones say, as far as a machine can tell."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, code_spans, prose, rows

if TYPE_CHECKING:
    from pathlib import Path

FIGURES = re.compile(r"(?<![A-Za-z0-9_.])\d+(?:\.\d+)?")

DOCS = ROOT / "docs"
CHINESE = [page for page in PAGES if page.name.endswith(".zh-CN.md") or page.parent == DOCS / "zh"]
WHOLE = {
    ROOT / "README.md": ROOT / "README.zh-CN.md",
    DOCS / "concepts.md": DOCS / "zh" / "concepts.md",
    DOCS / "quickstart.md": DOCS / "zh" / "quickstart.md",
    DOCS / "howto" / "event.md": DOCS / "zh" / "event.md",
}

whole = pytest.mark.parametrize(
    ("english", "chinese"), WHOLE.items(), ids=lambda page: str(page.relative_to(ROOT))
)


def figures(text: str) -> Counter[str]:
    """Count the figures outside of code and links."""
    return Counter(FIGURES.findall(re.sub(r"`[^`]+`|\]\(.*?\)", "", text)))


def code(page: Path) -> list[tuple[str, str]]:
    """Return the blocks of code without their comments."""
    return [(block.language, re.sub(r"  # .*", "", block.code)) for block in blocks(page)]


def names(row: list[str]) -> list[list[str]]:
    return [sorted(code_spans(cell)) for cell in row]


@whole
def test_the_code_is_the_same_but_for_comments(english: Path, chinese: Path) -> None:
    assert code(chinese) == code(english)


@whole
def test_the_headings_are_at_the_same_levels(english: Path, chinese: Path) -> None:
    def levels(page):
        return [line.split()[0] for line in prose(page) if line.startswith("#")]

    assert levels(chinese) == levels(english)


@whole
def test_the_tables_have_the_same_rows_with_the_same_names(english: Path, chinese: Path) -> None:
    for expected, row in zip(rows(english), rows(chinese), strict=True):
        assert names(row) == names(expected)


@whole
def test_the_sections_have_the_same_names_and_figures(english: Path, chinese: Path) -> None:
    def sections(page):
        text = "\n".join(prose(page))
        return [
            (Counter(code_spans(section)), figures(section))
            for section in re.split(r"^#+ .*$", text, flags=re.MULTILINE)
        ]

    for expected, section in zip(sections(english), sections(chinese), strict=True):
        assert section == expected


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_shorter_page_has_only_code_and_rows_of_the_english_pages(page: Path) -> None:
    """A Chinese page may leave things out; what it has must not lag behind."""

    def signature(row):
        return [names(row), [figures(cell) for cell in row]]

    english = [each for each in PAGES if each not in CHINESE]
    known_blocks = [(language, text.splitlines()) for each in english for language, text in code(each)]
    known_rows = [signature(row) for each in english for row in rows(each)]

    for language, text in code(page):
        assert any(
            language == known and set(text.splitlines()) <= set(lines) for known, lines in known_blocks
        ), text
    assert [row for row in rows(page) if signature(row) not in known_rows] == []
