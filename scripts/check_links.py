"""
Check every link of the built documentation, and of the Markdown files as they are: ``make docs``.

A link within the project must lead to an existing file, and to an anchor in it. For a link to the web, only
the form is checked. No network is needed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Page(HTMLParser):
    """The links and the anchors of a page."""

    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value or "")
            elif name in ("id", "name"):
                self.anchors.add(value or "")


@cache
def read(path: Path) -> Page:
    """Read a page; Markdown as GitHub renders it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = MarkdownIt("commonmark").enable("table").use(anchors_plugin, max_level=6).render(text)
    page = Page()
    page.feed(text)
    return page


def problem(path: Path, link: str) -> str:
    """Say what is wrong with a link; nothing if it is right."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        right = parts.scheme == "https" and "." in (parts.hostname or "") and " " not in link
        return "" if right else "is no https address"
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "leads to no file"
    checkable = parts.fragment and target.suffix in (".html", ".md")
    if checkable and unquote(parts.fragment) not in read(target).anchors:
        return "leads to no anchor"
    return ""


def main(site: Path) -> int:
    """Check the site in a folder, and say what is broken."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    pages = [*sorted(site.rglob("*.html")), *sorted(files)]
    found = [
        f"{path.relative_to(ROOT)}: {link!r} {wrong}"
        for path in pages
        for link in read(path).links
        if (wrong := problem(path, link))
    ]
    print("\n".join(dict.fromkeys(found)), end="\n" if found else "", file=sys.stderr)
    links = sum(len(read(path).links) for path in pages)
    print(f"{links} links on {len(pages)} pages, {len(found)} broken")
    return 1 if found or not links else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
