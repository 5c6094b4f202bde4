from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_qianfan.api.errors import QianfanProtocolError, QianfanTransientError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange
from airflow_provider_qianfan.api.model_compression import (
    ModelCompTask,
    create_task,
    read_task,
    read_tasks,
    read_tasks_within,
)
from airflow_provider_qianfan.api.signing import Credentials
from tests.api.steps import Drive, answer, error

# The example of https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq, to the letter.
DOCUMENTED = json.loads(
    """{"requestId": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "result": {"modelCompTaskList": [{
    "id": "amva-j05zi5ebfqf1", "name": "demo", "description": "test", "status": "succeeded",
    "sourceModelId": "amv-m45zi5edgff1", "modelId": "amv-s4678i5edgff",
    "config": {"strategy": "Quantization", "quantConf": "wint8"}, "createTime": "2024-03-22T17:13:33+08:00"}],
    "pageInfo": {"marker": "amva-n50985crhqq3", "maxKeys": 1, "isTruncated": false}}}"""
)
EXAMPLE = DOCUMENTED["result"]["modelCompTaskList"][0]


def exchange() -> Exchange:
    return Exchange(Endpoint.parse("https://h"), Credentials("a", "b"))


def test_the_documented_example() -> None:
    drive = Drive(read_tasks(exchange(), "amv-m45zi5edgff1"), [answer(DOCUMENTED)])

    (task,) = drive.result.tasks
    assert task == ModelCompTask(
        id="amva-j05zi5ebfqf1",
        name="demo",
        status="succeeded",
        source_model_id="amv-m45zi5edgff1",
        model_id="amv-s4678i5edgff",
        create_time=datetime(2024, 3, 22, 9, 13, 33, tzinfo=UTC),
        description="test",
    )
    assert task.json == EXAMPLE
    assert drive.bodies == [{"maxKeys": 100, "sourceModelId": "amv-m45zi5edgff1"}]


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("2024-03-22T18:13:33+08:00", datetime(2024, 3, 22, 10, 13, 33, tzinfo=UTC)),
        ("0000-00-00T00:00:00Z", None),
        (None, None),
    ],
)
def test_when_it_finished(told: str | None, read: datetime | None) -> None:
    assert ModelCompTask.parse({**EXAMPLE, "finishTime": told}).finish_time == read


@pytest.mark.parametrize("key", [key for key in EXAMPLE if key != "id"])
@pytest.mark.parametrize("value", [None, "", 7, [], "missing"])
def test_every_value_but_the_id_may_be_missing_or_odd(key: str, value: Any) -> None:
    row = {**EXAMPLE, key: value}
    if value == "missing":
        del row[key]

    assert ModelCompTask.parse(row).id == EXAMPLE["id"]


def test_unknown_statuses_and_keys_are_kept() -> None:
    task = ModelCompTask.parse({"id": "amva-1", "status": "paused", "progress": "37%"})

    assert task.status == "paused"
    assert task.json["progress"] == "37%"


@pytest.mark.parametrize("row", [{}, {"id": ""}, {"id": None}, {"id": 7}])
def test_a_task_without_an_id(row: dict[str, Any]) -> None:
    with pytest.raises(QianfanProtocolError, match=f"without an id: {re.escape(str(row))}"):
        ModelCompTask.parse(row)


def listing(*rows: dict[str, Any], next_marker: str | None = None) -> Any:
    info = {"isTruncated": next_marker is not None, "nextMarker": next_marker}
    return answer({"result": {"modelCompTaskList": list(rows), "pageInfo": info}})


def test_a_task_that_comes_twice_counts_as_read_last() -> None:
    drive = Drive(
        read_tasks(exchange()),
        [
            listing({"id": "a", "status": "running"}, {"id": "b"}, next_marker="a"),
            listing({"id": "a", "status": "failed"}),
        ],
    )

    assert {task.id: task.status for task in drive.result.tasks} == {"a": "failed", "b": ""}


TWICE = {"id": "a", "sourceModelId": "amv-s", "status": "failed", "createTime": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "other",
    [
        {"status": "succeeded"},
        {"modelId": "amv-m"},
        {"name": "n"},
        {"createTime": "2026-01-01T00:00:01Z"},
        {"sourceModelId": "amv-t"},
    ],
)
def test_a_page_that_describes_a_task_in_two_ways_is_no_reading(other: dict[str, Any]) -> None:
    pages = [listing(TWICE, {"id": "b"}, TWICE | other)]
    for source in (None, "amv-s", *([other["sourceModelId"]] if "sourceModelId" in other else [])):
        drive = Drive(read_tasks(exchange(), source), pages)
        assert type(drive.error) is QianfanTransientError
        assert str(drive.error) == "DescribeModelCompTasks: a page describes a in two ways."

    assert [task.id for task in Drive(read_tasks(exchange(), "amv-x"), pages).result.tasks] == ["a", "b"]
    within = Drive(read_tasks_within(exchange(), math.inf), pages).result
    assert [task.id for task in within.tasks] == ["b"]
    assert str(within.unreadable) == "DescribeModelCompTasks: a page describes a in two ways."
    thrice = [listing(TWICE, TWICE | other, {"id": "b"}, TWICE | other)]
    assert Drive(read_tasks_within(exchange(), math.inf), thrice).result.tasks == within.tasks


def test_a_task_may_come_twice_on_a_page_if_what_decides_is_the_same() -> None:
    same = TWICE | {"description": "d", "finishTime": "2026-01-01T00:00:01Z"}

    assert [task.id for task in Drive(read_tasks(exchange()), [listing(TWICE, same)]).result.tasks] == ["a"]


@pytest.mark.parametrize("read", [read_tasks, lambda talk: read_tasks_within(talk, math.inf)])
def test_what_was_read_before_a_restart_does_not_count(read: Any) -> None:
    drive = Drive(
        read(exchange()),
        [
            listing({"id": "deleted"}, next_marker="deleted"),
            error(400, "InvalidMarker"),
            listing({"id": "a"}),
        ],
    )

    assert [task.id for task in drive.result.tasks] == ["a"]


@pytest.mark.parametrize("result", [None, {}, [], "x"])
def test_a_detail_without_a_task(result: Any) -> None:
    drive = Drive(read_task(exchange(), "amva-1"), [answer({"result": result})])

    assert (drive.result, drive.error) == (None, None)


def test_a_detail_of_another_task() -> None:
    drive = Drive(read_task(exchange(), "amva-1"), [answer({"result": {"id": "amva-2"}})])

    assert type(drive.error) is QianfanProtocolError
    assert "asked for amva-1, answered amva-2" in str(drive.error)


def test_a_created_task_has_an_id() -> None:
    def create(result: Any) -> Drive:
        return Drive(create_task(exchange(), {}), [answer({"result": result})])

    assert create("amva-1").result == "amva-1"
    for result in (None, "", 7, {"id": "amva-1"}, ["amva-1"], "amva-1\u2028"):
        assert "may have been created: {'result': " in str(create(result).error)
