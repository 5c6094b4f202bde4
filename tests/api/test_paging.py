from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_qianfan.api import paging
from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanProtocolError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, Reply, Response, RetryPolicy, Steps
from airflow_provider_qianfan.api.paging import Scan
from airflow_provider_qianfan.api.reading import weight
from airflow_provider_qianfan.api.signing import Credentials
from tests.api.steps import Drive, answer, error


def rows_page(*ids: str, next_marker: Any = None, truncated: Any = None) -> Reply:
    info = {"isTruncated": next_marker is not None if truncated is None else truncated}
    if next_marker is not None:
        info["nextMarker"] = next_marker
    return answer({"result": {"rows": [{"id": each} for each in ids], "pageInfo": info}})


def read(
    *replies: Reply,
    body: dict[str, Any] | None = None,
    kept: dict[str, Any] | None = None,
) -> Drive:
    scan = Scan(
        Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(first_pause=0)),
        "/v2/model",
        "List",
        "rows",
        body,
    )

    def all_rows() -> Steps[list[str]]:
        rows: list[str] = []
        while not scan.finished:
            page = yield from scan.next_page(kept)
            rows += [row["id"] for row in page]
            if kept is not None:
                kept.update((row["id"], row) for row in page)
        return rows

    return Drive(all_rows(), replies)


def test_pages_are_followed_by_marker() -> None:
    drive = read(rows_page("a", "b", next_marker="b"), rows_page("c", next_marker="c"), rows_page("d"))

    assert drive.result == ["a", "b", "c", "d"]
    assert [body.get("marker") for body in drive.bodies] == [None, "b", "c"]
    assert {body["maxKeys"] for body in drive.bodies} == {100}


def test_filters_go_with_every_page() -> None:
    drive = read(rows_page("a", next_marker="m"), rows_page("b"), body={"sourceModelId": "s", "maxKeys": 1})

    assert [(body["sourceModelId"], body["maxKeys"]) for body in drive.bodies] == [("s", 1)] * 2


def test_an_empty_page_is_not_the_last() -> None:
    assert read(rows_page(next_marker="m"), rows_page("a")).result == ["a"]


NOT_SAID = "the answer does not say whether the list goes on (pageInfo.isTruncated)"


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        pytest.param(
            [rows_page("a", truncated=True)],
            "the list goes on, but there is no nextMarker: 'None'.",
            id="no marker",
        ),
        pytest.param(
            [rows_page("a", next_marker="", truncated=True)],
            "the list goes on, but there is no nextMarker: ''.",
            id="empty marker",
        ),
        pytest.param(
            [rows_page("a", next_marker=7, truncated=True)],
            "the list goes on, but there is no nextMarker: '7'.",
            id="a marker that is no text",
        ),
        pytest.param(
            [answer({"result": {"rows": [], "pageInfo": {}}})], f"{NOT_SAID}: {{}}.", id="no isTruncated"
        ),
        pytest.param(
            [rows_page("a", truncated="false")],
            f"{NOT_SAID}: {{'isTruncated': 'false'}}.",
            id="isTruncated as text",
        ),
        pytest.param([answer({"result": {"rows": []}})], f"{NOT_SAID}: None.", id="no pageInfo"),
        pytest.param(
            [answer({"result": {"pageInfo": {"isTruncated": True}}})],
            "rows is not a list of objects: None.",
            id="no rows, but more to come",
        ),
        pytest.param(
            [
                rows_page("a", next_marker="m"),
                answer({"result": {"rows": None, "pageInfo": {"isTruncated": False}}}),
            ],
            "rows is not a list of objects: None.",
            id="no rows on the second page",
        ),
        pytest.param(
            [rows_page(*map(str, range(101)))],
            "the page has 101 rows, more than were asked for (maxKeys 100).",
            id="more rows than were asked for",
        ),
        pytest.param(
            [answer({"result": {"rows": ["a"], "pageInfo": {"isTruncated": False}}})],
            "rows is not a list of objects: ['a'].",
            id="rows of text",
        ),
    ],
)
def test_a_list_that_contradicts_its_documentation(replies: list[Reply], told: str) -> None:
    drive = read(*replies)

    assert type(drive.error) is QianfanProtocolError
    assert str(drive.error) == f"List: {told}"
    assert len(drive.requests) == len(replies)


def test_a_list_that_is_null_is_empty() -> None:
    assert read(answer({"result": {"rows": None, "pageInfo": {"isTruncated": False}}})).result == []


def test_a_list_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MAX_PAGES", 20)
    drive = read(*[rows_page(f"r{number}", next_marker=f"m{number}") for number in range(30)])

    assert type(drive.error) is QianfanProtocolError
    assert str(drive.error) == "List: the list has not ended after 20 pages."
    assert len(drive.requests) == 20


def test_a_page_may_be_full() -> None:
    assert len(read(rows_page(*map(str, range(100)))).result) == 100


def test_a_page_with_more_rows_than_the_caller_asked_for() -> None:
    drive = read(rows_page("a", "b", "c"), body={"maxKeys": 2})

    assert type(drive.error) is QianfanProtocolError
    assert str(drive.error) == "List: the page has 3 rows, more than were asked for (maxKeys 2)."


def test_a_list_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is read counts: failed tries, too."""
    page, busy = rows_page("a", next_marker="m"), error(429, "Busy")
    assert isinstance(page, Response)
    assert isinstance(busy, Response)
    monkeypatch.setattr(paging, "MAX_LIST_BYTES", weight(page.body) + weight(busy.body))

    fits = read(rows_page("a"), busy)
    too_long = read(busy, page, rows_page("b"))

    assert fits.result == ["a"]
    assert type(too_long.error) is QianfanProtocolError
    assert f"longer than {paging.MAX_LIST_BYTES} bytes on page 2" in str(too_long.error)


@pytest.mark.parametrize("result", [None, [], "x"])
def test_a_success_with_nothing_in_it_may_pass(result: Any) -> None:
    drive = read(answer({"result": result}))

    assert type(drive.error) is QianfanTransientError
    assert str(drive.error) == "List: the answer has no result object."


def test_a_marker_that_went_bad_restarts_the_list_once() -> None:
    bad = error(400, "InvalidMarker")
    once = read(rows_page("a", next_marker="m"), bad, rows_page("a", next_marker="m"), rows_page("b"))
    twice = read(rows_page("a", next_marker="m"), bad, rows_page("a", next_marker="m"), bad)

    assert once.result == ["a", "a", "b"]
    assert [body.get("marker") for body in once.bodies] == [None, "m", None, "m"]
    assert type(twice.error) is QianfanTransientError
    assert str(twice.error).startswith("List: the list changed twice while it was read (List: HTTP 400 Inv")


def test_a_list_that_began_at_a_marker_begins_there_again() -> None:
    bad = error(400, "InvalidMarker")
    drive = read(rows_page("a", next_marker="m"), bad, rows_page("a"), body={"marker": "first"})

    assert [body.get("marker") for body in drive.bodies] == ["first", "m", "first"]


def test_a_marker_that_comes_again_restarts_the_list_once() -> None:
    """A row that has changed its place may do that."""
    kept: dict[str, Any] = {}
    first, second = rows_page("a", next_marker="m"), rows_page("b", next_marker="n")
    drive = read(first, second, rows_page("a", next_marker="m"), first, rows_page("c"), kept=kept)

    assert [body.get("marker") for body in drive.bodies] == [None, "m", "n", None, "m"]
    assert kept.keys() == {"a", "c"}


@pytest.mark.parametrize("markers", ["mnm", "mm"])
def test_a_list_whose_rows_move_each_time_it_is_read_is_no_reading(markers: str) -> None:
    drive = read(*[rows_page("a", next_marker=marker) for marker in markers * 2])

    assert type(drive.error) is QianfanTransientError
    assert str(drive.error) == "List: the list changed twice while it was read (marker 'm' comes again)."
    assert len(drive.requests) == 2 * len(markers)


LAST = {"truncated": False}
DOUBTED = rows_page("a", next_marker="m", **LAST)
"""A last page that names a next one: one of the two is wrong."""


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        pytest.param((DOUBTED, rows_page("b")), ["a", "b"], id="there is another page"),
        pytest.param((DOUBTED, rows_page()), ["a"], id="an empty one"),
        pytest.param(
            (DOUBTED, answer({"result": {"pageInfo": {"isTruncated": False}}})), ["a"], id="no rows"
        ),
        pytest.param(
            (DOUBTED, error(400, "InvalidMarker")) * 2, ["a", "a"], id="the marker is refused twice"
        ),
        pytest.param(
            (DOUBTED, error(400, "InvalidMarker"), DOUBTED, rows_page("b")),
            ["a", "a", "b"],
            id="the marker is refused once",
        ),
        pytest.param((DOUBTED, rows_page("a", next_marker="m", **LAST)), ["a", "a"], id="the same again"),
        pytest.param(
            (DOUBTED, rows_page("b", next_marker="n"), rows_page("c", next_marker="m", **LAST)),
            ["a", "b", "c"],
            id="it goes on, and the end names a page that was read",
        ),
        pytest.param(
            (DOUBTED, rows_page(next_marker="n", **LAST)), ["a"], id="an empty one that names a next one"
        ),
        pytest.param((rows_page("a", next_marker="", **LAST),), ["a"], id="an empty marker"),
        pytest.param((rows_page("a", next_marker=[], **LAST),), ["a"], id="a marker that is no text"),
    ],
)
def test_a_last_page_that_names_a_next_one(replies: tuple[Reply, ...], expected: list[str]) -> None:
    drive = read(*replies)

    assert drive.result == expected
    assert len(drive.requests) == len(replies)


def test_a_marker_that_was_refused_elsewhere_says_nothing_of_the_end() -> None:
    refused = error(400, "InvalidMarker")
    drive = read(rows_page("a", next_marker="m"), refused, DOUBTED, refused)

    assert type(drive.error) is QianfanTransientError


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        pytest.param((error(403, "AccessDenied"),), QianfanAuthError, id="the key is refused"),
        pytest.param((error(400, "RequestExpired"),), QianfanAPIError, id="the clock is wrong"),
        pytest.param((error(400, "InappropriateJSON"),), QianfanAPIError, id="another refusal"),
        pytest.param((answer({"error_code": 17}),), QianfanAPIError, id="a limit of the day"),
        pytest.param((error(503, "Busy"),), QianfanTransientError, id="no answer"),
        pytest.param(
            (rows_page("b", next_marker="n"), error(400, "InappropriateJSON")),
            QianfanAPIError,
            id="a page that was promised since",
        ),
        pytest.param(
            (rows_page("b", next_marker="n"), error(400, "InvalidMarker"), error(400, "InappropriateJSON")),
            QianfanAPIError,
            id="the first page of another start",
        ),
        pytest.param(
            (
                rows_page("b", next_marker="n"),
                error(400, "InvalidMarker"),
                rows_page("a", next_marker="m"),
                error(400, "InappropriateJSON"),
            ),
            QianfanAPIError,
            id="a page that was promised after another start",
        ),
    ],
)
def test_what_is_no_answer_about_a_doubted_page(replies: tuple[Reply, ...], kind: type[Exception]) -> None:
    assert type(read(DOUBTED, *replies).error) is kind


@pytest.mark.parametrize("rows", [None, []])
def test_a_list_may_be_empty_when_it_is_read_again(rows: list[Any] | None) -> None:
    empty = answer({"result": {"rows": rows, "pageInfo": {"isTruncated": False}}})

    assert read(rows_page("a", next_marker="m"), error(400, "InvalidMarker"), empty).result == ["a"]


def test_another_list_is_not_taken_for_none() -> None:
    """Or a wrong key would find nothing, and say nothing."""
    lists: dict[str, Any] = {f"list{number}": [] for number in range(6)}
    other = answer({"result": {"rowList": [], **lists, "pageInfo": {"isTruncated": False}}})

    assert str(read(other).error) == (
        "List: there is no rows, but there is: list0, list1, list2, list3, list4."
    )


def test_what_was_kept_is_dropped_when_the_list_is_read_again() -> None:
    kept: dict[str, Any] = {}
    read(rows_page("a", next_marker="m"), error(400, "InvalidMarker"), rows_page("b"), kept=kept)

    assert kept == {"b": {"id": "b"}}


@pytest.mark.parametrize("code", ["InvalidMarker", "InappropriateJSON"])
def test_an_error_that_is_not_about_our_marker_is_not_swallowed(code: str) -> None:
    drive = read(error(400, code))

    assert type(drive.error) is QianfanAPIError
