"""The rules of docs/proxy.md, row by row. Its messages are those that tests/faults meets on real sockets."""

from __future__ import annotations

import pytest

from airflow_provider_qianfan.api.errors import QianfanConfigurationError, QianfanTransientError
from airflow_provider_qianfan.api.exchange import DEFAULT_ENDPOINT, Endpoint
from airflow_provider_qianfan.gate.memory import Limits, Memory, Observer, Run, after_failure
from airflow_provider_qianfan.hooks._route import BUNDLE_VARIABLES, PROXY_VARIABLES, Route, find_route
from tests.docs.pages import ROOT, code_spans, rows
from tests.faults.test_environment import ROWS

PAGE = ROOT / "docs" / "proxy.md"
VARIABLES = (*PROXY_VARIABLES, "http_proxy", "no_proxy")
NAMES = (*VARIABLES, *(name.upper() for name in VARIABLES), *BUNDLE_VARIABLES)


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table that has this over its second column."""
    found = rows(PAGE)
    start = [row[1] for row in found].index(heading) + 2
    rulers = [number for number, row in enumerate(found) if set(row[0]) == {"-"} and number > start]
    return found[start : rulers[0] - 1 if rulers else None]


def way(cell: str, endpoint: str = DEFAULT_ENDPOINT) -> Route:
    """Find the way with what a cell sets: variables, and the connection's ``proxy`` and ``verify``."""
    given = dict(span.split("=", 1) for span in code_spans(cell))
    proxy, verify = given.pop("proxy", None), given.pop("verify", True)
    assert set(given) <= set(NAMES)
    assert given or proxy or verify is not True or cell == "nothing"
    return find_route(Endpoint.parse(endpoint), proxy, verify, given)


@pytest.mark.parametrize(
    "row", table("requests to `qianfan.baidubce.com` go through"), ids=lambda row: row[0]
)
def test_which_proxy(row: list[str]) -> None:
    given, expected, _ = row
    if expected == "unusable":
        with pytest.raises(QianfanConfigurationError, match="is not the URL of a proxy"):
            way(given)
        return

    proxy = way(given).proxy

    assert ([proxy.url] if proxy else []) == code_spans(expected)
    assert proxy or expected == "no proxy"


@pytest.mark.parametrize("setting", ["proxy", *NAMES])
def test_a_loopback_address_is_never_proxied(setting: str) -> None:
    assert way(f"`{setting}=http://up:3128`", "https://127.0.0.1:8443").proxy is None


@pytest.mark.parametrize("row", table("stands for"), ids=lambda row: row[0])
def test_no_proxy(row: list[str]) -> None:
    (entry,), excepted, others = map(code_spans, row)

    def is_proxied(host: str) -> bool:
        return way(f"`HTTPS_PROXY=http://up:3128` `NO_PROXY={entry}`", f"https://{host}").proxy is not None

    assert [host for host in (*excepted, *others) if is_proxied(host)] == others
    assert excepted


@pytest.mark.parametrize("row", table("certificates are checked against"), ids=lambda row: row[0])
def test_which_bundle(row: list[str]) -> None:
    given, expected = row

    assert str(way(given).bundle) == expected.strip("`")


@pytest.mark.parametrize("row", table("the message has"), ids=lambda row: row[0])
def test_what_test_says(row: list[str]) -> None:
    given, expected = row

    assert f"Route: {way(given)}." == expected.strip("`")


@pytest.mark.parametrize("row", table("what is wrong"), ids=lambda row: row[0])
def test_what_passes(row: list[str]) -> None:
    words, _, outcome = row
    for told in code_spans(words):
        met = {error[0] for each in ROWS.values() if (error := each.error) and told in error[1]}

        assert met == {{"fails": QianfanConfigurationError, "waits on": QianfanTransientError}[outcome]}


def test_what_becomes_of_a_gate() -> None:
    wrong, down = QianfanConfigurationError("m"), QianfanTransientError("a", "r", sent=False)
    run = Run(Observer.WORKER, began=0.0)
    limits = Limits(max_unhealthy=3600.0, auth_grace=600.0)
    new, worked = Memory(started=0.0), Memory(started=0.0, last_healthy=1.0)
    run = Run(Observer.WORKER, began=0.0)

    after_failure(new, down, 2.0, limits, run)
    failing, (line,) = after_failure(worked, wrong, 2.0, limits, run)
    after_failure(failing, wrong, 601.0, limits, run)

    assert "failing in 10 minutes" in line.text
    for memory, now in ((new, 2.0), (failing, 602.0)):
        with pytest.raises(QianfanConfigurationError):
            after_failure(memory, wrong, now, limits, run)


def test_every_setting_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert [name for name in NAMES if name != "http_proxy" and f"`{name}" not in text] == []
    assert DEFAULT_ENDPOINT.removeprefix("https://") + ":443" in text
