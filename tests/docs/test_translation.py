"""README.zh-CN.md says what README.md says, as far as a machine can tell."""

from __future__ import annotations

import re
from collections import Counter

from tests.docs.pages import ROOT, blocks, code_spans, prose, rows

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
FIGURES = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")


def test_the_code_is_the_same_but_for_comments() -> None:
    def code(page):
        return [(b.language, re.sub(r"  # .*", "", b.code)) for b in blocks(page)]

    assert code(CHINESE) == code(ENGLISH)


def test_the_headings_are_at_the_same_levels() -> None:
    def levels(page):
        return [line.split()[0] for line in prose(page) if line.startswith("#")]

    assert levels(CHINESE) == levels(ENGLISH)


def test_the_tables_have_the_same_rows_with_the_same_names() -> None:
    def names(page):
        return [[sorted(code_spans(cell)) for cell in row] for row in rows(page)]

    for english, chinese in zip(names(ENGLISH), names(CHINESE), strict=True):
        assert chinese == english


def test_the_sections_have_the_same_names_and_figures() -> None:
    def sections(page):
        text = "\n".join(prose(page))
        return [
            (
                Counter(code_spans(section)),
                Counter(FIGURES.findall(re.sub(r"`[^`]+`|\(http.*?\)", "", section))),
            )
            for section in re.split(r"^#+ .*$", text, flags=re.MULTILINE)
        ]

    for english, chinese in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert chinese == english
