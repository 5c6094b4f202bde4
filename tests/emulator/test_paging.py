from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import pytest

from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.world import World
from tests.emulator.client import Client, ask

Marker = Literal["inclusive", "exclusive", "overlapping"]
Order = Literal["newest_first", "oldest_first", "shuffled"]

MARKERS: tuple[Marker, ...] = ("inclusive", "exclusive", "overlapping")
ORDERS: tuple[Order, ...] = ("newest_first", "oldest_first", "shuffled")


@pytest.fixture
def history() -> World:
    return World("history")


def scan(world: World, **body: Any) -> list[list[dict[str, Any]]]:
    """Read pages as the documentation says: ``nextMarker`` while ``isTruncated``."""
    pages, marker = [], None
    while True:
        result = ask(world, "DescribeModelCompTasks", marker=marker, **body)
        pages.append(result["modelCompTaskList"])
        info = result["pageInfo"]
        assert info["marker"] == (marker or "")
        assert ("nextMarker" in info) is info["isTruncated"]
        if not info["isTruncated"]:
            return pages
        marker = info["nextMarker"]


@pytest.mark.parametrize("page_reverse", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("max_keys", [2, 10, 100, 256, 257])
def test_each_row_is_seen(
    history: World, marker: Marker, order: Order, page_reverse: bool, max_keys: int
) -> None:
    history.behaviour.marker = marker
    history.behaviour.order = order
    pages = scan(history, maxKeys=max_keys, pageReverse=page_reverse)
    rows = [row["id"] for page in pages for row in page]
    repeated = len(pages) - 1 if marker == "overlapping" else 0
    assert len(rows) == 257 + repeated
    assert len(set(rows)) == 257
    assert all(len(page) <= min(max_keys, 100) for page in pages)


@pytest.mark.parametrize("marker", MARKERS)
def test_what_a_marker_names(history: World, marker: Marker) -> None:
    history.behaviour.marker = marker
    first = ask(history, "DescribeModelCompTasks")
    next_marker = first["pageInfo"]["nextMarker"]
    second = ask(history, "DescribeModelCompTasks", marker=next_marker)["modelCompTaskList"]
    last_of_first = first["modelCompTaskList"][-1]["id"]
    assert (next_marker == last_of_first) is (marker != "inclusive")
    assert (next_marker == second[0]["id"]) is (marker != "exclusive")


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
@pytest.mark.parametrize("page_reverse", [False, True])
def test_order(history: World, order: Literal["newest_first", "oldest_first"], page_reverse: bool) -> None:
    history.behaviour.order = order
    rows = [
        row["createTime"] for page in scan(history, maxKeys=100, pageReverse=page_reverse) for row in page
    ]
    falling = (order == "newest_first") is not page_reverse
    assert all((a >= b) if falling else (a <= b) for a, b in pairwise(rows))


def test_shuffled_is_stable_and_not_by_time(history: World) -> None:
    history.behaviour.order = "shuffled"
    once, again = ([row["id"] for row in scan(history, maxKeys=100)[0]] for _ in range(2))
    assert once == again
    times = [
        row["createTime"] for row in ask(history, "DescribeModelCompTasks", maxKeys=100)["modelCompTaskList"]
    ]
    assert times not in (sorted(times), sorted(times, reverse=True))


@pytest.mark.parametrize(("asked", "effective"), [(None, 10), (1, 1), (100, 100), (101, 100), (10**6, 100)])
def test_max_keys(history: World, asked: int | None, effective: int) -> None:
    result = (
        ask(history, "DescribeModelCompTasks")
        if asked is None
        else ask(history, "DescribeModelCompTasks", maxKeys=asked)
    )
    assert len(result["modelCompTaskList"]) == result["pageInfo"]["maxKeys"] == effective


def test_unknown_marker(history: World) -> None:
    with pytest.raises(ApiError, match="400 InvalidMarker"):
        ask(history, "DescribeModelCompTasks", marker="amva-nobody")


def test_marker_of_a_row_deleted_meanwhile(history: World) -> None:
    marker = ask(history, "DescribeModelCompTasks")["pageInfo"]["nextMarker"]
    history.tasks.remove(marker)
    with pytest.raises(ApiError, match="InvalidMarker"):
        ask(history, "DescribeModelCompTasks", marker=marker)


def test_source_filter_and_its_absence(history: World) -> None:
    wanted = {"amva-histgood0001", "amva-histstale001"}
    rows = [row for page in scan(history, sourceModelId="amv-demogood0001") for row in page]
    assert {row["id"] for row in rows} == wanted
    history.behaviour.ignore_source_filter = True
    rows = [row for page in scan(history, sourceModelId="amv-demogood0001") for row in page]
    assert len(rows) == 257


def test_the_last_page_may_be_full(history: World) -> None:
    for task_id in list(history.tasks)[:57]:
        history.tasks.remove(task_id)
    assert [len(page) for page in scan(history, maxKeys=100)] == [100, 100]


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("page_reverse", [False, True])
def test_each_row_is_seen_over_http(marker: Marker, page_reverse: bool) -> None:
    seen: set[str] = set()
    body: dict[str, Any] = {"maxKeys": 100, "pageReverse": page_reverse}
    with EmulatorServer("history") as emulator, Client(emulator.url) as client:
        emulator.world.behaviour.marker = marker
        while True:
            result = client.page(**body)
            seen.update(row["id"] for row in result["modelCompTaskList"])
            if not result["pageInfo"]["isTruncated"]:
                break
            body["marker"] = result["pageInfo"]["nextMarker"]
    assert len(seen) == 257
    assert emulator.world.count("DescribeModelCompTasks") == 3
