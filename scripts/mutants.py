"""
Count the mutants that the tests kill. ``make mutants`` runs it after mutmut.

A mutant is the package with one small change. If a test fails or hangs, the mutant is killed. Every other
mutant is one of these:

===========  ======================================================================================
worded       the change is in the words of a message, or in how much of a text it shows
listed       ``tests/proof/survivors.toml`` lists the change, and says why no test has to notice it
unexplained  a test is missing
===========  ======================================================================================

The script fails if a mutant is unexplained, or if the list has a mutant that the tests kill or that is
gone. It knows a mutant by its file, its function and the line before and after the change. Changes
elsewhere in the file do not disturb it.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.proof.record import record

PACKAGE = Path("airflow_provider_qianfan")
LAYERS = ("api", "gate", "changes")
LIST = Path("tests/proof/survivors.toml")
KILLED = ("killed", "timeout")
SHOWN = re.compile(r"(\bclean\([^,]*), (?:\d*|_[A-Z]\w*)\)")
LITERAL = re.compile(r"""(?P<f>\bf)?(?P<quote>['"])(?P<text>(?:(?!(?P=quote))[^\\]|\\.)*)(?P=quote)""")
FIELD = re.compile(r"\{[^{}]*\}")


class Mutant(NamedTuple):
    """
    A change to the package.

    :param where: the file and the function, such as ``gate/look.py:Look.due``.
    :param was: the line before the change. If the change has several, they are joined.
    :param now: the line after the change.
    """

    where: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"  {self.where}\n  - {self.was}\n  + {self.now}"


def read(path: Path, name: str) -> Mutant:
    """Read a mutant from its diff."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import parse_mutant_key

    key, _, _ = name.removeprefix(".".join(path.with_suffix("").parts) + ".").partition("__mutmut_")
    function, of = parse_mutant_key(key)
    lines = get_diff_for_mutant(name, path=path).splitlines()[3:]
    was, now = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Mutant(f"{path.relative_to(PACKAGE)}:{of + '.' if of else ''}{function}", was, now)


def is_worded(mutant: Mutant) -> bool:
    """Tell whether only the words of a text with a space changed, or only the length of a shown text."""
    was, now = (SHOWN.sub(r"\1)", LITERAL.sub(hide, line)) for line in (mutant.was, mutant.now))
    return was == now


def hide(literal: re.Match[str]) -> str:
    """Hide the words of a sentence, but not the fields between them."""
    if " " not in literal["text"].strip():
        return literal[0]
    return "…" + "".join(FIELD.findall(literal["text"]) if literal["f"] else ())


def listed() -> Counter[Mutant]:
    """Read the list. A mutant that it has twice may live twice."""
    return Counter(
        Mutant(where, was, now)
        for reason in tomllib.loads(LIST.read_text(encoding="utf-8"))["reason"]
        for where, was, now in reason["mutants"]
    )


def tried(layer: str) -> Iterator[tuple[Path, str, str]]:
    """Read what mutmut found for a layer: file, mutant and status."""
    from mutmut.stats import status_by_exit_code

    for path in sorted((PACKAGE / layer).glob("*.py")):
        meta = Path("mutants", f"{path}.meta")
        results = json.loads(meta.read_text(encoding="utf-8")) if meta.exists() else {}
        for name, code in results.get("exit_code_by_key", {}).items():
            yield path, name, status_by_exit_code[code]


def judge(layer: str, known: Counter[Mutant]) -> tuple[Counter[str], list[str]]:
    """Count the mutants of a layer, and say what is wrong."""
    count: Counter[str] = Counter()
    lived: Counter[Mutant] = Counter()
    wrong = []
    for path, name, status in tried(layer):
        if status in KILLED or status == "not checked":
            count[status] += 1
            continue
        mutant = read(path, name)
        lived[mutant] += 1
        if lived[mutant] <= known[mutant]:
            count["listed"] += 1
        elif is_worded(mutant):
            count["worded"] += 1
        else:
            count["unexplained"] += 1
            wrong.append(f"{status}: {name}\n{mutant}")
    if not count["not checked"]:
        ours = Counter({mutant: n for mutant, n in known.items() if mutant.where.startswith(f"{layer}/")})
        wrong += [f"listed, but no survivor:\n{mutant}" for mutant in ours - lived]
    return count, wrong


def main() -> int:
    """Print what is wrong, and a row for each layer of which a mutant was tried."""
    known = listed()
    failed = False
    figures = {}
    for layer in LAYERS:
        count, wrong = judge(layer, known)
        killed = sum(count[status] for status in KILLED)
        lived = {name: count[name] for name in ("worded", "listed", "unexplained")}
        mutants = killed + sum(lived.values())
        if not mutants:
            continue
        row = {"mutants": mutants, "killed": killed, **lived}
        if not count["not checked"]:
            row = figures[layer] = {**row, "score": round(100 * killed / mutants, 1)}
        failed = failed or bool(wrong)
        print(*wrong, f"{layer}: {', '.join(f'{name} {figure}' for name, figure in row.items())}", sep="\n")
        if count["not checked"]:
            print(f"{layer}: {count['not checked']} other mutants were not tried")
    if figures:
        record("mutants", figures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
