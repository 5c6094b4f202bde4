"""Read the Markdown of the documentation: its code blocks, its tables and its headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")]))

_GENERATED = re.compile(r"<!-- (\S+): made by make pages -->.*?<!-- end of \1 -->", re.DOTALL)
_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block that is written by hand; one with a directive, such as ``{include}``, is none."""

    page: str
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    # What a script copies into a page is tested where it comes from.
    text = _GENERATED.sub(lambda part: "\n" * part[0].count("\n"), page.read_text(encoding="utf-8"))
    return tuple(
        Block(
            str(page.relative_to(ROOT)),
            text.count("\n", 0, fence.start()) + 2,
            fence[2],
            "".join(line.removeprefix(fence[1]) for line in fence[3].splitlines(keepends=True)),
        )
        for fence in _FENCE.finditer(text)
    )


def all_blocks(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def prose(page: Path) -> list[str]:
    """Return the lines outside of fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8")).splitlines()


def rows(page: Path) -> list[list[str]]:
    """Return the cells of every row of every table, headings and rulers among them."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in prose(page) if line.startswith("|")
    ]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)
