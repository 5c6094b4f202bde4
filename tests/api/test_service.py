"""What the platform takes for a service. What it answers is in tests/changes."""

from __future__ import annotations

import re

import pytest

from airflow_provider_qianfan.api.service import (
    LONGEST_DESCRIPTION,
    check_description,
    check_name,
    check_url_suffix,
)


@pytest.mark.parametrize("name", ["ab", "x" * 20, "服务", "- -"])
def test_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(("name", "told"), [("a", "'a' has 1 "), ("x" * 21, "has 21 "), ("", "'' has 0 ")])
def test_what_is_no_name(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^name=.*{told}characters\. The platform takes 2 to 20\.$"):
        check_name(name)


@pytest.mark.parametrize("suffix", ["ab", "0" * 20, "a-_b"])
def test_a_url_suffix(suffix: str) -> None:
    assert check_url_suffix(suffix) == suffix


@pytest.mark.parametrize("suffix", ["a", "0" * 21, "", "-ab", "ab_", "aB", "a/b", "a b", "ab\n", "服务"])
def test_what_is_no_url_suffix(suffix: str) -> None:
    with pytest.raises(
        ValueError, match=f"^url_suffix={re.escape(repr(suffix))}: the platform takes 2 to 20"
    ):
        check_url_suffix(suffix)


def test_a_description() -> None:
    longest = "x" * LONGEST_DESCRIPTION
    assert check_description(longest) == longest

    with pytest.raises(ValueError, match=r"^description has 501 characters, with the mark"):
        check_description(longest + "x")
