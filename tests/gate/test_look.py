from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanAuthError, QianfanTransientError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, Reply, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.exceptions import QianfanModelIdMissingError
from airflow_provider_qianfan.gate.look import DETAIL_PAUSE, look, watch
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Fail, NeedDetail, Open, Wait
from tests.api.steps import Drive, answer, error, page
from tests.gate.tasks import NOW, SOURCE

ROW = {"id": "amva-1", "sourceModelId": SOURCE, "createTime": "2026-01-31T12:00:00Z"}
SUCCEEDED = ROW | {"status": "succeeded", "modelId": "amv-made"}
EMPTY = ROW | {"status": "succeeded", "modelId": ""}
FAILED = ROW | {"status": "failed"}


def listing(*rows: dict[str, Any]) -> Reply:
    return answer({"result": {"modelCompTaskList": list(rows), "pageInfo": {"isTruncated": False}}})


def detail(row: dict[str, Any] | None) -> Reply:
    return answer({"result": row})


def take(*replies: Reply, steps: Any = look, **criteria: Any) -> Drive:
    exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
    selector = Selector(**{"source_model_id": SOURCE, **criteria})
    return Drive(steps(exchange, selector, Memory(NOW), settle=120, clock=lambda: NOW), replies)


def actions(drive: Drive) -> list[str]:
    return [request.url.rpartition("=")[2] for request in drive.requests]


LIST, DETAIL = "DescribeModelCompTasks", "DescribeModelCompTask"


def test_a_clear_success_costs_one_call() -> None:
    drive = take(listing(SUCCEEDED))

    assert isinstance(drive.result, Open)
    assert actions(drive) == [LIST]


def test_a_model_that_comes_late_is_asked_for_a_few_times() -> None:
    drive = take(listing(EMPTY), detail(EMPTY), detail(EMPTY), detail(SUCCEEDED))

    assert isinstance(drive.result, Open)
    assert drive.slept == [DETAIL_PAUSE] * 2


def test_a_model_that_does_not_come_fails() -> None:
    drive = take(listing(EMPTY), detail(EMPTY), detail(EMPTY), detail(EMPTY))

    assert isinstance(drive.result, Fail)
    assert isinstance(drive.result.error, QianfanModelIdMissingError)
    assert actions(drive) == [LIST, DETAIL, DETAIL, DETAIL]


def test_a_detail_that_tells_another_status_is_not_asked_again() -> None:
    drive = take(listing(EMPTY), detail(ROW | {"status": "running"}))

    assert isinstance(drive.result, Wait)


def test_a_platform_that_is_lost_over_the_model_is_no_verdict() -> None:
    assert type(take(listing(EMPTY), page(502)).error) is QianfanTransientError


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
    ("reply", "kind"), [(error(403, "AccessDenied"), QianfanAuthError), (page(502), QianfanTransientError)]
)
def test_an_id_that_cannot_be_asked_for_is_no_verdict(reply: Reply, kind: type[Exception]) -> None:
    assert type(take(reply, model_comp_task_id="amva-1").error) is kind


def test_a_refused_list_is_no_verdict() -> None:
    drive = take(error(404, "NoSuchKey"), error(400, "InappropriateJSON"), model_comp_task_id="amva-1")

    assert type(drive.error) is QianfanAPIError


def test_watching_asks_for_no_detail() -> None:
    drive = take(listing(FAILED), steps=watch)

    assert drive.result == NeedDetail("amva-1", required=False)
