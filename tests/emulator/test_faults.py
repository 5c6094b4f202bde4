from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import ServiceSpec, TaskSpec
from tests.emulator.client import Client, error
from tests.emulator.test_app import CREATE, SERVE

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World

LIST = "DescribeModelCompTasks"


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault(latency=1), [1, 2, 3, 4, 5, 6]),
        (Fault(latency=1, always=True), [1, 2, 3, 4, 5, 6]),
        (Fault(latency=1, calls=(2, 3)), [2, 3]),
        (Fault(latency=1, from_=4), [4, 5, 6]),
        (Fault(latency=1, count=2), [1, 2]),
        (Fault(latency=1, from_=2, count=3), [2, 3, 4]),
        (Fault(latency=1, after=30), [4, 5, 6]),
        (Fault(latency=1, after=10, until=30), [2, 3]),
        (Fault(latency=1, until=30, calls=(3, 4)), [3]),
    ],
)
def test_when(fault: Fault, struck: list[int]) -> None:
    # Calls 1, 2, 3, … at world seconds 0, 10, 20, …
    assert [n for n in range(1, 7) if fault.due((n - 1) * 10)] == struck


def test_a_fault_counts_its_own_action_from_when_it_came(world: World, client: Client) -> None:
    client.page()
    world.faults.append(Fault(action=LIST, calls=(2,), server_error=500))
    client.page()
    client.post("DescribeModelCompTask")
    assert client.post(LIST).status_code == 500
    client.page()


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({}, "not what happens"),
        ({"calls": (1,)}, "not what happens"),
        ({"latency": -1.0}, "cannot be negative"),
        ({"action": "Nonsense", "latency": 1.0}, "unknown action 'Nonsense'; allowed"),
        ({"always": True, "calls": (1,), "latency": 1.0}, "exclude each other"),
        ({"server_error": 404}, "from 500 to 599"),
        ({"status": 99}, "from 200 to 599"),
        ({"rate_limit": True, "empty_body": True}, "only one of rate_limit, empty_body"),
        ({"status": 500, "rate_limit": True}, "does not go with 'rate_limit'"),
        ({"retry_after": 1.0, "latency": 1.0}, "needs an answer"),
        ({"performs": True, "latency": 1.0}, "needs a replaced answer"),
    ],
)
def test_nonsense(keys: dict[str, Any], hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Fault(**keys)


def struck(world: World, client: Client, **keys: Any) -> httpx.Response:
    """Return the answer to a listing of three tasks under one fault."""
    for n in range(3):
        world.tasks.add(TaskSpec("amv-source000001", created=-n, id=f"amva-row{n}"))
    world.faults.append(Fault(**keys))
    return client.post(LIST, {"maxKeys": 2})


def test_latency(world: World, client: Client) -> None:
    start = time.monotonic()
    assert struck(world, client, latency=0.1).status_code == 200
    assert time.monotonic() - start >= 0.1


def test_latency_holds_nobody_else_up(world: World, client: Client) -> None:
    world.faults.append(Fault(action=LIST, latency=30))
    with pytest.raises(httpx.ReadTimeout):
        client.http.post(f"{client.url}/v2/model?Action={LIST}", timeout=0.05)
    assert client.post("DescribeModelCompTask").status_code == 400


def test_any_answer(world: World, client: Client) -> None:
    response = struck(world, client, status=409, body={"code": "X"}, headers={"X-More": "yes"})
    assert (response.status_code, response.json(), response.headers["X-More"]) == (409, {"code": "X"}, "yes")
    assert "x-bce-request-id" in response.headers


def test_text_and_no_body(world: World, client: Client) -> None:
    assert struck(world, client, body="{", count=1).text == "{"
    world.faults.append(Fault(status=503))
    response = client.post(LIST)
    assert (response.status_code, response.content) == (503, b"")


def test_headers_alone_keep_the_answer(world: World, client: Client) -> None:
    response = struck(world, client, headers={"X-More": "yes"})
    assert (response.status_code, response.headers["X-More"]) == (200, "yes")
    assert response.json()["result"]["modelCompTaskList"]


@pytest.mark.parametrize(("retry_after", "text"), [(None, None), (2.0, "2"), (0.5, "0.5")])
def test_rate_limit(world: World, client: Client, retry_after: float | None, text: str | None) -> None:
    response = struck(world, client, rate_limit=True, retry_after=retry_after)
    assert response.status_code == 429
    assert response.headers.get("Retry-After") == text


def test_rate_limit_with_a_date(world: World, client: Client) -> None:
    response = struck(world, client, rate_limit=True, retry_after=60, retry_after_date=True)
    until = parsedate_to_datetime(response.headers["Retry-After"])
    assert until - parsedate_to_datetime(response.headers["Date"]) in (
        timedelta(seconds=59),
        timedelta(seconds=60),
    )


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_error(world: World, client: Client, status: int) -> None:
    response = struck(world, client, server_error=status)
    assert response.status_code == status
    assert response.text.startswith("<html>")


def test_truncated_by_length(world: World, client: Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        struck(world, client, truncated_body="content_length")


def test_truncated_json(world: World, client: Client) -> None:
    response = struck(world, client, truncated_body="cut_json")
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


@pytest.mark.parametrize("status", [None, 200, 502])
def test_empty_body(world: World, client: Client, status: int | None) -> None:
    response = struck(world, client, empty_body=True, status=status)
    assert (response.status_code, response.content) == (status or 200, b"")


@pytest.mark.parametrize("status", [None, 403])
def test_not_json(world: World, client: Client, status: int | None) -> None:
    response = struck(world, client, not_json=True, status=status)
    assert response.status_code == (status or 200)
    assert response.text.startswith("<html>")


def test_legacy_error(world: World, client: Client) -> None:
    response = struck(world, client, legacy_error=336100)
    assert response.status_code == 200
    assert response.json()["error_code"] == 336100
    assert "error_msg" in response.json()


@pytest.mark.parametrize("skew", [7200, -7200])
def test_skew(world: World, client: Client, skew: int) -> None:
    response = struck(world, client, skew=skew)
    assert error(response) == (400, "RequestExpired")
    date = parsedate_to_datetime(response.headers["Date"])
    assert abs(date - datetime.now(UTC) - timedelta(seconds=skew)) < timedelta(seconds=5)
    client.ahead = skew
    assert client.post(LIST).status_code == 200


def test_redirect(world: World, client: Client) -> None:
    response = struck(world, client, redirect="http://127.0.0.1:1/login")
    assert (response.status_code, response.headers["Location"]) == (302, "http://127.0.0.1:1/login")


def test_huge_body(world: World, client: Client) -> None:
    response = struck(world, client, huge_body=2_000_000)
    assert len(response.content) > 2_000_000
    assert len(response.json()["result"]["modelCompTaskList"]) == 2


def test_null_list(world: World, client: Client) -> None:
    result = struck(world, client, null_list=True).json()["result"]
    assert result["modelCompTaskList"] is None
    assert client.result("DescribeServices")["serviceList"] is None


def pages(client: Client, action: str, count: int) -> list[Any]:
    """Return ``count`` pages as a client without any doubts would read them."""
    read, marker = [], None
    for _ in range(count):
        read.append(client.result(action, **{"marker": marker} if marker else {}))
        marker = read[-1]["pageInfo"].get("nextMarker")
    return read


@pytest.mark.parametrize(
    ("variant", "different_markers", "different_rows"),
    [
        ("same_marker", 1, 2),
        ("looping_marker", 2, 2),
        ("missing_marker", 0, 2),
        ("fresh_markers", 6, 2),
        ("fresh_rows", 6, 12),
    ],
)
@pytest.mark.parametrize(
    ("action", "rows", "row_id"),
    [(LIST, "modelCompTaskList", "id"), ("DescribeServices", "serviceList", "serviceId")],
)
def test_endless_paging(
    world: World,
    client: Client,
    action: str,
    rows: str,
    row_id: str,
    variant: Any,
    different_markers: int,
    different_rows: int,
) -> None:
    for n in range(2):
        world.tasks.add(TaskSpec("amv-source000001", id=f"amva-row{n}"))
        world.services.add(ServiceSpec("amv-source000001", id=f"svco-row{n}"))
    world.faults.append(Fault(endless_paging=variant))
    read = pages(client, action, 6)
    assert all(page["pageInfo"]["isTruncated"] is True for page in read)
    markers = [page["pageInfo"].get("nextMarker") for page in read]
    assert len(set(markers) - {None}) == different_markers
    assert len({row[row_id] for page in read for row in page[rows]}) == different_rows


def test_a_struck_action_is_not_performed_unless_it_is(world: World, client: Client) -> None:
    world.faults.append(Fault(calls=(1,), server_error=500))
    world.faults.append(Fault(calls=(2,), server_error=500, performs=True))
    assert client.post("CreateModelCompTask", CREATE).status_code == 500
    assert not world.tasks
    assert client.post("CreateModelCompTask", CREATE).status_code == 500
    assert len(world.tasks) == 1


def test_a_lost_answer(world: World, client: Client) -> None:
    service_id = world.services.add(ServiceSpec("amv-old"))
    modify = {"serviceId": service_id, "modelSetId": "am-x", "modelId": "amv-new"}
    calls = [("CreateModelCompTask", CREATE), ("CreateService", SERVE), ("ModifyService", modify)]
    for action, _ in calls:
        world.faults.append(Fault(action=action, server_error=504, performs=True, count=1))
    assert [client.post(action, body).status_code for action, body in calls] == [504, 504, 504]
    assert len(world.tasks) == 1
    assert len(world.services) == 2
    assert client.result("DescribeService", serviceId=service_id)["updateStatus"] == "Updating"


def test_gateways_do_not_look_at_signatures(world: World, client: Client) -> None:
    client.secret = "wrong"
    assert struck(world, client, server_error=502).status_code == 502


def test_errors_stay_errors(world: World, client: Client) -> None:
    client.secret = "wrong"
    response = struck(world, client, null_list=True, skew=1)
    assert error(response) == (400, "SignatureDoesNotMatch")


def test_stormy_scenario_clears_up() -> None:
    with EmulatorServer("stormy") as emulator:
        for fault in emulator.world.faults:
            fault.latency = min(fault.latency, 0.01)
        with Client(emulator.url) as client:
            assert [client.post(LIST).status_code for _ in range(7)] == [429, 502, 503, 200, 200, 200, 200]
