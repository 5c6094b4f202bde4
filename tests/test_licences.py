from __future__ import annotations

import pytest

from scripts.licences import OURS, is_allowed, licence, needed


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("Apache-2.0", True),
        ("MIT AND PSF-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only OR AGPL-3.0-only", False),
        ("MIT AND (GPL-3.0-only OR MIT)", False),  # too hard to read: a person has to look
        ("MIT License AND Apache Software License", True),
        ("GNU General Public License v2 (GPLv2)", False),
        ("not stated", False),
        ("", False),
    ],
)
def test_allowed(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


def test_what_the_package_needs_at_run_time() -> None:
    packages = needed(OURS)
    assert {"apache-airflow", "certifi", "pendulum", "requests", "urllib3"} <= packages.keys()
    assert not {"hypothesis", "mutmut", "mypy", "pytest-xdist", "ruff"} & packages.keys()


def test_an_extra_brings_its_own_needs() -> None:
    assert "pysocks" in needed(OURS, frozenset({"socks"}))
    assert "pysocks" not in needed("urllib3")


def test_a_licence_is_stated_or_chosen() -> None:
    packages = needed(OURS)
    assert licence(packages["requests"]) in ("Apache-2.0", "Apache Software License")
    assert licence(packages["text-unidecode"]) == "Artistic-1.0"
