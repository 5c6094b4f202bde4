"""Which mutants may live unlisted, and which may not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from scripts import mutants
from scripts.mutants import Mutant, is_worded, judge, listed


@pytest.mark.parametrize(
    ("was", "now", "worded"),
    [
        ('raise ValueError("is not a path")', 'raise ValueError("XXis not a pathXX")', True),
        ('f"{action}: the answer" " is odd"', 'f"{action}: the answer" " IS ODD"', True),
        ('f"{key} is {clean(was, 80)}, not"', 'f"{key} IS {clean(was, )}, NOT"', True),
        ('f"{key} is {clean(was, 80)}, not"', 'f"{key} is {clean(None, 80)}, not"', False),
        ('f"{row["id"]}" " is odd"', 'f"{row["ID"]}" " is odd"', False),
        ("told = clean(reason, 80)", "told = clean(reason, 81)", True),
        ("told = clean(reason, 80)", "told = clean(reason, )", True),
        ("told = clean(reason, _LONGEST)", "told = clean(reason, )", True),
        ("told = clean(reason, 80)", "told = clean(None, 80)", False),
        ('raise ValueError("is not a path")', "raise ValueError(None)", False),
        ('if status == "succeeded":', 'if status == "XXsucceededXX":', False),
        ('if status == "succeeded":', 'if status != "succeeded":', False),
        ('x = row.get("modelId") or "none at all"', 'x = row.get("MODELID") or "none at all"', False),
        ('say("a b"); wait(60)', 'say("a b"); wait(61)', False),
        ('if a == " ":', 'if a == "XX XX":', False),
    ],
)
def test_only_words_may_change(was: str, now: str, worded: bool) -> None:
    assert is_worded(Mutant("gate/look.py:look", was, now)) is worded


def test_every_mutant_is_killed_listed_or_worded(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Mutant("gate/look.py:look", "wait(60)", "wait(61)")
    told = Mutant("gate/look.py:look", 'raise E("a b")', 'raise E("A B")')
    found = {"1": wait, "2": wait, "3": told}
    statuses = [("killed", "0"), ("timeout", "0"), ("survived", "1"), ("no tests", "2"), ("segfault", "3")]
    monkeypatch.setattr(mutants, "tried", lambda _: [(Path(), name, status) for status, name in statuses])
    monkeypatch.setattr(mutants, "read", lambda _, name: found[name])

    assert judge("gate", Counter([wait, wait])) == (
        Counter(killed=1, timeout=1, listed=2, worded=1),
        [],
    )
    once, (unexplained,) = judge("gate", Counter([wait]))
    assert (once["listed"], once["unexplained"]) == (1, 1)
    assert unexplained == f"no tests: 2\n{wait}"
    _, (gone,) = judge("gate", Counter([wait] * 3))
    assert gone == f"listed, but no survivor:\n{wait}"
    assert judge("gate", Counter([wait, wait, wait._replace(where="api/paging.py:Scan")]))[1] == []


def test_the_list_is_of_what_is_there() -> None:
    for mutant in listed():
        path, _, function = mutant.where.partition(":")
        source = (mutants.PACKAGE / path).read_text(encoding="utf-8")
        assert f"def {function.rpartition('.')[2]}(" in source, mutant
