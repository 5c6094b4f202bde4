from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanAuthError, QianfanTransientError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.cancellation import cancel_unfinished, wait_for_end
from airflow_provider_qianfan.gate.errors import QianfanTaskNotFoundError
from tests.api.steps import Drive, answer, error, page
from tests.gate.tasks import task

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Reply

LIST, DETAIL, CANCEL = "DescribeModelCompTasks", "DescribeModelCompTask", "CancelModelCompTask"
DONE = answer({"requestId": "r"})
NO_ROWS = answer({"result": {"modelCompTaskList": [], "pageInfo": {"isTruncated": False}}})


def is_now(status: str) -> Reply:
    return answer({"result": {"id": "amva-1", "status": status}})


def exchange() -> Exchange:
    return Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))


def cancel(*replies: Reply) -> Drive:
    return Drive(cancel_unfinished(exchange(), "amva-1"), replies)


def actions(drive: Drive) -> list[str]:
    return [request.url.rpartition("=")[2] for request in drive.requests]


@pytest.mark.parametrize("status", ["creating", "running", "paused"])
def test_cancels(status: str) -> None:
    drive = cancel(is_now(status), DONE)

    assert drive.result.status == status
    assert actions(drive) == [DETAIL, CANCEL]
    assert drive.bodies[1] == {"modelCompTaskId": "amva-1"}


@pytest.mark.parametrize("status", ["succeeded", "failed", "stopped", "stopping"])
def test_what_has_ended_or_is_ending_is_left_alone(status: str) -> None:
    drive = cancel(is_now(status))

    assert drive.result.status == status
    assert actions(drive) == [DETAIL]


@pytest.mark.parametrize(
    "answered", [error(412, "PreconditionFailed"), error(400, "InappropriateJSON"), page(502)]
)
@pytest.mark.parametrize("status", ["succeeded", "stopping", "stopped"])
def test_after_an_error_it_looks_again(answered: Reply, status: str) -> None:
    drive = cancel(is_now("running"), answered, is_now(status))

    assert drive.result.status == status


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        (error(412, "PreconditionFailed"), QianfanAPIError),
        (error(403, "AccessDenied"), QianfanAuthError),
        (page(502), QianfanTransientError),
    ],
)
def test_an_error_that_had_no_effect(answered: Reply, kind: type) -> None:
    drive = cancel(is_now("running"), answered, is_now("running"))

    assert type(drive.error) is kind


def test_no_such_task() -> None:
    drive = cancel(error(404, "NoSuchKey"), NO_ROWS)

    assert type(drive.error) is QianfanTaskNotFoundError
    assert str(drive.error).startswith("There is no model compression task amva-1. Check the id, and that ")
    assert "NoSuchKey" in str(drive.error)
    assert (drive.error.model_comp_task_id, drive.error.request_id) == ("amva-1", "r-1")
    assert actions(drive) == [DETAIL, LIST]


class Waiting(Drive):
    """A wait for the end of a task, of thirty seconds at most; its clock moves only when it sleeps."""

    def __init__(self, *replies: Reply, status: str = "running", until: float = 30.0) -> None:
        seen = task("amva-1", status)
        steps = wait_for_end(exchange(), seen, poke_interval=12, until=until, clock=lambda: sum(self.slept))
        super().__init__(steps, replies)


@pytest.mark.parametrize("status", ["stopped", "succeeded", "failed"])
def test_waits_for_an_end(status: str) -> None:
    drive = Waiting(is_now("stopping"), page(502), is_now(status))

    assert drive.result.status == status
    assert drive.slept == [12, 12, 6]


def test_what_has_ended_is_not_waited_for() -> None:
    assert Waiting(status="stopped").requests == []


@pytest.mark.parametrize(
    ("looks", "slept", "status", "trouble"),
    [
        pytest.param([], [], "running", "", id="from the start"),
        pytest.param(
            [is_now("stopping"), page(502), is_now("stopping")],
            [12, 12, 0.5],
            "stopping",
            "",
            id="after a good look",
        ),
        pytest.param(
            [is_now("stopping"), is_now("stopping"), page(502)],
            [12, 12, 0.5],
            "stopping",
            " The last look: DescribeModelCompTask: HTTP 502 .*",
            id="after a failed look",
        ),
    ],
)
def test_the_time_is_up(looks: list[Reply], slept: list[float], status: str, trouble: str) -> None:
    drive = Waiting(*looks, until=sum(slept))

    assert type(drive.error) is QianfanTransientError
    told = (
        rf"^Waiting for the end of amva-1.*: it was cancelled, but is {status} when the time is up"
        rf" \(timeout\)\.{trouble}$"
    )
    assert re.search(told, str(drive.error))
    assert drive.slept == slept


def test_a_refusal_is_not_waited_out() -> None:
    drive = Waiting(error(403, "AccessDenied"))

    assert type(drive.error) is QianfanAuthError
