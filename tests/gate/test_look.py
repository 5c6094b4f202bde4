from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, Reply, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.gate.errors import QianfanModelIdMissingError
from airflow_provider_qianfan.gate.look import DETAIL_PAUSE, look
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Fail, Open, Wait
from tests.api.steps import Drive, answer, error, page
from tests.gate.tasks import NOW, SOURCE

ROW = {"id": "amva-1", "sourceModelId": SOURCE, "createTime": "2026-01-31T12:00:00Z"}
SUCCEEDED = ROW | {"status": "succeeded", "modelId": "amv-made"}
EMPTY = ROW | {"status": "succeeded", "modelId": ""}
FAILED = ROW | {"status": "failed"}
NEWER = ROW | {"id": "amva-2", "status": "running", "createTime": "2026-01-31T12:00:01Z"}

FIRST = Memory(NOW)
FORGETFUL = Memory(NOW - 60, forgetful=True)


def listing(*rows: dict[str, Any], more: str | None = None) -> Reply:
    info = {"isTruncated": more is not None, "nextMarker": more}
    return answer({"result": {"modelCompTaskList": list(rows), "pageInfo": info}})


def detail(row: dict[str, Any] | None) -> Reply:
    return answer({"result": row})


def take(*replies: Reply, memory: Memory = FIRST, **criteria: Any) -> Drive:
    exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
    selector = Selector(**{"source_model_id": SOURCE, **criteria})
    return Drive(look(exchange, selector, memory, settle=60, clock=lambda: NOW), replies)


def actions(drive: Drive) -> list[str]:
    return [request.url.rpartition("=")[2] for request in drive.requests]


LIST, DETAIL = "DescribeModelCompTasks", "DescribeModelCompTask"


def test_a_clear_success_costs_one_call() -> None:
    drive = take(listing(SUCCEEDED))

    assert isinstance(drive.result, Open)
    assert actions(drive) == [LIST]
    assert drive.bodies == [{"maxKeys": 100, "sourceModelId": SOURCE}]


PAGES = (listing(SUCCEEDED, more="amva-1"), listing())


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        pytest.param(PAGES, Open, id="the same"),
        pytest.param((listing(SUCCEEDED, NEWER),), Wait, id="and a newer one"),
        pytest.param((listing(FAILED | {"failedReason": "r"}),), Fail, id="another status"),
        pytest.param((listing(),), Open, id="it moved away, which a task does not do"),
        pytest.param((listing(EMPTY), detail(EMPTY | {"status": "running"})), Wait, id="another detail"),
    ],
)
def test_a_success_among_several_pages_is_read_twice(again: tuple[Reply, ...], kind: type) -> None:
    drive = take(*PAGES, *again)

    assert isinstance(drive.result, kind)
    assert len(drive.requests) == len(PAGES) + len(again)


def test_a_failure_among_several_pages_is_read_twice() -> None:
    failed = FAILED | {"failedReason": "r"}
    moved = take(listing(failed, more="amva-1"), listing(), listing(NEWER, more="amva-2"), listing(failed))
    stays = take(*(listing(failed, more="amva-1"), listing()) * 2)

    assert isinstance(moved.result, Wait)
    assert isinstance(stays.result, Fail)
    assert len(stays.requests) == 4


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        pytest.param((detail(None), listing()), Fail, id="not there either"),
        pytest.param((detail(None), listing(SUCCEEDED)), Open, id="in the list"),
        pytest.param((detail(SUCCEEDED),), Open, id="there"),
    ],
)
def test_a_task_that_is_missing_too_long_is_looked_for_once_more(
    again: tuple[Reply, ...], kind: type
) -> None:
    memory = Memory(NOW - 99, absent_since=NOW - 60)
    drive = take(detail(None), listing(), *again, memory=memory, model_comp_task_id="amva-1")

    assert isinstance(drive.result, kind)
    assert len(drive.requests) == 2 + len(again)


def test_a_wait_among_several_pages_is_read_once() -> None:
    assert isinstance(take(listing(NEWER, more="amva-2"), listing()).result, Wait)


def test_a_detail_of_the_first_reading_does_not_count_in_the_second() -> None:
    drive = take(listing(EMPTY, more="amva-1"), listing(), detail(SUCCEEDED), listing(EMPTY), detail(FAILED))

    assert isinstance(drive.result, Fail)
    assert actions(drive) == [LIST, LIST, DETAIL, LIST, DETAIL]


def test_a_model_that_comes_late_is_asked_for_a_few_times() -> None:
    drive = take(listing(EMPTY), detail(EMPTY), detail(EMPTY), detail(SUCCEEDED))

    assert isinstance(drive.result, Open)
    assert drive.slept == [DETAIL_PAUSE] * 2


def test_a_model_that_does_not_come_fails() -> None:
    drive = take(listing(EMPTY), detail(EMPTY), detail(EMPTY), detail(EMPTY))

    assert isinstance(drive.result, Fail)
    assert isinstance(drive.result.error, QianfanModelIdMissingError)
    assert actions(drive) == [LIST, DETAIL, DETAIL, DETAIL]


@pytest.mark.parametrize("reply", [error(404, "NoSuchKey"), error(400, "InappropriateJSON"), detail(None)])
def test_a_listed_success_that_cannot_be_asked_for_decides_nothing(reply: Reply) -> None:
    """The task was deleted meanwhile, or one of the two answers is behind the other."""
    drive = take(listing(EMPTY), reply, reply, reply)

    assert isinstance(drive.error, QianfanTransientError)
    assert str(drive.error).startswith(f"{DETAIL}: the list shows amva-1 as succeeded, without a model, but ")
    assert "but None" not in str(drive.error)


def test_a_listed_success_may_be_asked_for_a_little_later() -> None:
    drive = take(listing(EMPTY), error(404, "NoSuchKey"), detail(None), detail(SUCCEEDED))

    assert isinstance(drive.result, Open)


def test_a_detail_that_tells_another_status_is_not_asked_again() -> None:
    drive = take(listing(EMPTY), detail(ROW | {"status": "running"}))

    assert isinstance(drive.result, Wait)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (page(502), QianfanTransientError),
        (error(403, "AccessDenied"), QianfanAuthError),
        (error(429, "RateLimitExceeded"), QianfanRateLimitError),
        (error(503, "Busy"), QianfanTransientError),
        (detail({"id": "amva-2"}), QianfanProtocolError),
    ],
)
def test_what_is_no_refusal_of_the_task_ends_the_look_as_it_is(reply: Reply, kind: type[Exception]) -> None:
    drive = take(listing(EMPTY), reply)

    assert type(drive.error) is kind
    assert actions(drive) == [LIST, DETAIL]


def test_the_reason_of_a_failure_comes_from_the_detail() -> None:
    drive = take(listing(FAILED), detail(FAILED | {"failedReason": "no data"}))

    assert "no data" in str(drive.result.error)


@pytest.mark.parametrize(
    "reply",
    [page(502), error(403, "AccessDenied"), error(404, "NoSuchKey"), detail(None), detail({"id": "amva-2"})],
)
def test_a_failure_is_one_without_its_reason(reply: Reply) -> None:
    drive = take(listing(FAILED), reply)

    assert isinstance(drive.result, Fail)
    assert "gives no reason" in str(drive.result.error)


def test_a_given_id_is_asked_for_directly() -> None:
    drive = take(detail(SUCCEEDED), model_comp_task_id="amva-1")

    assert isinstance(drive.result, Open)
    assert actions(drive) == [DETAIL]


@pytest.mark.parametrize("reply", [error(404, "NoSuchKey"), error(400, "InappropriateJSON"), detail(None)])
def test_an_id_that_is_refused_is_looked_for_in_the_whole_list(reply: Reply) -> None:
    found = take(reply, listing(SUCCEEDED), model_comp_task_id="amva-1")
    missing = take(reply, listing(), model_comp_task_id="amva-1")

    assert isinstance(found.result, Open)
    assert found.bodies[1] == {"maxKeys": 100}
    assert isinstance(missing.result, Wait)
    assert missing.result.absent


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(403, "AccessDenied"), QianfanAuthError),
        (error(400, "RequestExpired"), QianfanAPIError),
        (error(429, "RateLimitExceeded"), QianfanRateLimitError),
        (page(502), QianfanTransientError),
    ],
)
def test_an_id_that_cannot_be_asked_for_is_no_verdict(reply: Reply, kind: type[Exception]) -> None:
    assert type(take(reply, model_comp_task_id="amva-1").error) is kind


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            error(404, "NoSuchKey"),
            " The platform said: DescribeModelCompTask: HTTP 404 NoSuchKey (request id r-1).",
        ),
        (detail(None), ""),
    ],
)
def test_an_id_that_is_not_there_has_so_much_time_left(reply: Reply, said: str) -> None:
    memory = Memory(NOW - 99, absent_since=NOW - 20)
    drive = take(reply, listing(), memory=memory, model_comp_task_id="amva-1")

    (note,) = drive.result.notes
    assert note.text == (
        "Model compression task amva-1 is not there; failing unless it appears within 40 seconds." + said
    )


MISSING = (detail(None), listing())


@pytest.mark.parametrize(
    ("replies", "kind", "pauses"),
    [
        pytest.param((detail(SUCCEEDED),), Open, 0, id="there"),
        pytest.param(
            (detail(None), listing(FAILED | {"failedReason": "r"})), Fail, 0, id="in the list alone"
        ),
        pytest.param((*MISSING, detail(SUCCEEDED)), Open, 1, id="there the second time"),
        pytest.param((*MISSING, *MISSING, detail(SUCCEEDED)), Open, 2, id="there the third time"),
        pytest.param(MISSING * 3, Fail, 2, id="not there"),
    ],
)
def test_a_wait_that_keeps_no_memory_misses_an_id_three_times(
    replies: tuple[Reply, ...], kind: type, pauses: int
) -> None:
    drive = take(*replies, memory=FORGETFUL, model_comp_task_id="amva-1")

    assert isinstance(drive.result, kind)
    assert drive.slept == [DETAIL_PAUSE] * pauses
    assert len(drive.requests) == len(replies)


def test_an_id_that_is_missed_once_is_not_asked_for_again_by_a_wait_that_remembers() -> None:
    assert actions(take(*MISSING, model_comp_task_id="amva-1")) == [DETAIL, LIST]


NAMELESS = SUCCEEDED | {"sourceModelId": None}


def test_an_answer_without_a_source_model_is_not_asked_for_again() -> None:
    drive = take(listing(EMPTY), detail(NAMELESS))

    assert isinstance(drive.result, Open)
    assert actions(drive) == [LIST, DETAIL]


@pytest.mark.parametrize("criteria", [{"source_model_id": None}, {}])
@pytest.mark.parametrize(
    ("model_id", "listed", "kind"),
    [
        pytest.param("amv-made", SUCCEEDED, Open, id="the list names another model"),
        pytest.param("amv-made", ROW | {"status": "running"}, Open, id="the list is behind"),
        pytest.param(SOURCE, SUCCEEDED, Fail, id="the list names the same model"),
        pytest.param("amv-made", NAMELESS, QianfanTransientError, id="the list names none"),
        pytest.param("amv-made", NEWER, QianfanTransientError, id="the list has no such task"),
    ],
)
def test_the_list_names_the_source_model_of_a_given_task(
    model_id: str, listed: dict[str, Any], kind: type, criteria: dict[str, Any]
) -> None:
    told = detail(NAMELESS | {"modelId": model_id})
    again = [told] * 3 if kind is Fail else []

    drive = take(told, listing(NEWER, listed), *again, model_comp_task_id="amva-1", **criteria)

    assert isinstance(drive.error or drive.result, kind), drive.error
    assert actions(drive)[:2] == [DETAIL, LIST]
    assert drive.bodies[1] == {"maxKeys": 100}
    if kind is Open:
        assert drive.result.described.source_model_id == SOURCE
    if drive.error is not None:
        assert str(drive.error) == (
            "DescribeModelCompTask: neither the answer nor the list names the source model of amva-1."
        )


def test_a_refused_list_is_no_verdict() -> None:
    drive = take(error(404, "NoSuchKey"), error(400, "InappropriateJSON"), model_comp_task_id="amva-1")

    assert type(drive.error) is QianfanAPIError
