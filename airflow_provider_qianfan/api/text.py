"""Text for logs and messages."""

from __future__ import annotations

import re

UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
"""NUL, which PostgreSQL refuses, and lone surrogates, which UTF-8 cannot encode."""

_LONGEST = 300


def clean(text: object, longest: int = _LONGEST) -> str:
    """Make a server's text fit for a log: one line, control characters escaped, cut at ``longest``."""
    whole = str(text)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole[:longest])
    return shown if len(whole) <= longest else shown + "…"


def sentence(text: str) -> str:
    """End a text as a sentence does."""
    text = text.rstrip()
    return f"{text}." if text and text[-1] not in ".…?!。？！" else text


def duration(seconds: float) -> str:
    """Write a span of time in words, in whole seconds."""
    import pendulum  # here, because a DAG file's parse does not need it

    whole = max(0, round(seconds))
    return pendulum.duration(seconds=whole).in_words(locale="en") if whole else "0 seconds"


def count_of(number: int, noun: str) -> str:
    """Write a number of things, such as ``3 tasks``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def capital(text: object) -> str:
    """Write something as the beginning of a sentence."""
    return f"{text}"[:1].upper() + f"{text}"[1:]
