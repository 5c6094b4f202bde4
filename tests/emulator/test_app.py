from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_qianfan.emulator import faults
from airflow_provider_qianfan.emulator.behaviour import ACCESS_KEY_ID, Account
from airflow_provider_qianfan.emulator.scenario import Stub
from tests.emulator.client import Client, error

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World

ACTIONS = [
    "CreateModelCompTask",
    "DescribeModelCompTasks",
    "DescribeModelCompTask",
    "CancelModelCompTask",
    "DeleteModelCompTask",
    "DescribeModel",
    "CreateService",
    "ModifyService",
    "DescribeService",
    "DescribeServices",
    "DeactivateService",
]
READ = ["DescribeModelCompTasks", "DescribeModelCompTask", "DescribeModel"]
TUNING = [*ACTIONS[:5], "DescribeModel"]
CREATE: dict[str, Any] = {
    "name": "demo",
    "description": "test",
    "sourceModelId": "amv-d1zx1iwdarfr",
    "modelSetId": "am-adbuasyfaf",
    "config": {"strategy": "Quantization", "weight": "int8-ptq"},
}
# The example of the documentation.
SERVE: dict[str, Any] = {
    "modelSetId": "am-3aa2***5c9",
    "modelId": "amv-ur1u1***722s",
    "name": "apitest_1226_3",
    "urlSuffix": "apitest_1226_3",
    "deploymentConfig": {
        "qps": 1,
        "replicaComputeUnitCount": 1,
        "replicasCount": 1,
        "deploymentComputeUnitList": [{"instanceId": "unit-gdqb1Fot", "deploymentReplicasCount": 2}],
    },
    "protocolVersion": 1,
}


def test_these_are_all_actions() -> None:
    assert set(ACTIONS) == set(faults.ACTIONS)


def test_life_of_a_task(world: World, client: Client) -> None:
    task_id = client.result("CreateModelCompTask", **CREATE)
    assert client.detail(task_id)["status"] == "creating"
    world.advance(2)
    (row,) = client.page(sourceModelId="amv-d1zx1iwdarfr")["modelCompTaskList"]
    assert (row["id"], row["status"], row["config"]) == (task_id, "running", CREATE["config"])
    assert set(client.post("CancelModelCompTask", {"modelCompTaskId": task_id}).json()) == {"requestId"}
    assert client.detail(task_id)["status"] == "stopping"
    world.advance(2)
    assert client.detail(task_id)["status"] == "stopped"
    assert set(client.post("DeleteModelCompTask", {"modelCompTaskId": task_id}).json()) == {"requestId"}
    assert client.ids() == []
    assert error(client.post("DescribeModelCompTask", {"modelCompTaskId": task_id})) == (404, "NoSuchKey")


def test_every_answer_has_an_id_and_a_date(client: Client) -> None:
    for action in [*ACTIONS, "Nonsense"]:
        response = client.post(action)
        assert response.json()["requestId"] == response.headers["x-bce-request-id"]
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        date = parsedate_to_datetime(response.headers["Date"])
        assert abs(date - datetime.now(UTC)) < timedelta(seconds=5)
        assert len(response.headers.get_list("Date")) == 1


@pytest.mark.parametrize("action", ["", "Nonsense", "StopModelCompTask"])
def test_unknown_action(client: Client, action: str) -> None:
    assert error(client.post(action)) == (400, "InvalidHTTPRequest")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"<html>"])
def test_not_json(client: Client, content: bytes) -> None:
    assert error(client.post("DescribeModelCompTasks", content=content)) == (400, "MalformedJSON")


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("DescribeModelCompTasks", []),
        ("DescribeModelCompTasks", "text"),
        ("DescribeModelCompTasks", {"marker": 1}),
        ("DescribeModelCompTasks", {"maxKeys": "10"}),
        ("DescribeModelCompTasks", {"maxKeys": True}),
        ("DescribeModelCompTasks", {"maxKeys": 0}),
        ("DescribeModelCompTasks", {"pageReverse": "true"}),
        ("DescribeModelCompTasks", {"sourceModelId": None}),
        ("DescribeModelCompTask", {}),
        ("CancelModelCompTask", {"modelCompTaskId": ""}),
        ("DeleteModelCompTask", {"modelCompTaskId": 5}),
        *[("CreateModelCompTask", {**CREATE, key: None}) for key in CREATE],
        ("CreateModelCompTask", {**CREATE, "config": {"strategy": "Quantization"}}),
        ("CreateModelCompTask", {**CREATE, "config": {"strategy": "Quantization", "weight": "wint8"}}),
        ("CreateModelCompTask", {**CREATE, "config": {"strategy": "Squeezing"}}),
        ("DescribeModel", {}),
        ("DescribeModel", {"modelId": 5}),
        ("DescribeService", {}),
        ("DescribeServices", {"maxKeys": 0}),
        ("DescribeServices", {"runStatus": "Serving"}),
        ("DescribeServices", {"serviceType": "chat"}),
        ("DeactivateService", {}),
        ("ModifyService", {"serviceId": "svco-x", "modelSetId": "am-x"}),
        ("ModifyService", {"serviceId": "svco-x", "modelId": "amv-x"}),
        ("ModifyService", {"modelSetId": "am-x", "modelId": "amv-x"}),
        *[("CreateService", {**SERVE, key: None}) for key in SERVE],
        *[("CreateService", {**SERVE, key: {}}) for key in ("resourceConfig", "billing")],
        ("CreateService", {**SERVE, "name": "x"}),
        ("CreateService", {**SERVE, "name": "x" * 21}),
        ("CreateService", {**SERVE, "urlSuffix": "Upper"}),
        ("CreateService", {**SERVE, "urlSuffix": "-ends"}),
        ("CreateService", {**SERVE, "urlSuffix": "x" * 21}),
        ("CreateService", {**SERVE, "description": "x" * 501}),
        ("CreateService", {**SERVE, "protocolVersion": 3}),
        ("CreateService", {**SERVE, "deploymentConfig": {"replicasCount": 1}}),
        (
            "CreateService",
            {**SERVE, "deploymentConfig": {"replicasCount": 1, "deploymentComputeUnitList": ["unit-x"]}},
        ),
    ],
)
def test_wrong_body(client: Client, action: str, body: Any) -> None:
    assert error(client.post(action, body)) == (400, "InappropriateJSON")


@pytest.mark.parametrize("missing", ["name", "sourceModelId", "modelSetId", "config"])
def test_create_needs(client: Client, missing: str) -> None:
    body = {key: value for key, value in CREATE.items() if key != missing}
    assert error(client.post("CreateModelCompTask", body)) == (400, "InappropriateJSON")


@pytest.mark.parametrize("missing", ["modelSetId", "modelId", "name", "urlSuffix", "deploymentConfig"])
def test_create_service_needs(world: World, client: Client, missing: str) -> None:
    body = {key: value for key, value in SERVE.items() if key != missing}
    assert error(client.post("CreateService", body)) == (400, "InappropriateJSON")
    assert not world.services


def test_life_of_a_service(world: World, client: Client) -> None:
    created = client.result("CreateService", **SERVE)
    assert set(created) == {"serviceId", "instanceId"}
    service = {"serviceId": created["serviceId"]}
    assert client.result("DescribeService", **service)["runStatus"] == "New"
    world.advance(8)
    (row,) = client.result("DescribeServices", runStatus=["Serving"])["serviceList"]
    assert (row["serviceId"], row["modelId"]) == (created["serviceId"], SERVE["modelId"])
    assert client.result("ModifyService", **service, modelSetId="am-x", modelId="amv-new") is True
    assert client.result("DescribeService", **service)["updateStatus"] == "Updating"
    world.advance(5)
    row = client.result("DescribeService", **service)
    assert (row["updateStatus"], row["modelSetId"], row["modelId"]) == ("None", "am-x", "amv-new")
    assert client.result("DeactivateService", **service) == {"operation": True, "message": ""}
    world.advance(2)
    assert client.result("DescribeService", **service)["runStatus"] == "Stopped"
    assert error(client.post("DescribeService", {"serviceId": "svco-x"})) == (404, "NoSuchKey")


def test_an_action_has_its_path(client: Client) -> None:
    for action in ACTIONS:
        assert client.post(action).json().get("code") != "InvalidHTTPRequest"
        elsewhere = "/v2/model" if "Service" in action else "/v2/service"
        assert error(client.post(action, path=elsewhere)) == (400, "InvalidHTTPRequest")


def test_case_of_the_weight(world: World, client: Client) -> None:
    world.behaviour.any_weight_case = False
    assert error(client.post("CreateModelCompTask", CREATE)) == (400, "InappropriateJSON")
    client.result(
        "CreateModelCompTask", **{**CREATE, "config": {"strategy": "Quantization", "weight": "W4A16C16"}}
    )
    client.result("CreateModelCompTask", **{**CREATE, "config": {"strategy": "Sparsity"}})


def test_unknown_marker(client: Client) -> None:
    assert error(client.post("DescribeModelCompTasks", {"marker": "amva-x"})) == (400, "InvalidMarker")


def test_null_result(world: World, client: Client) -> None:
    world.behaviour.not_found = "null_result"
    body = client.post("DescribeModelCompTask", {"modelCompTaskId": "amva-x"}).json()
    assert body["result"] is None


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("full", ACTIONS),
        ("read", READ),
        ("tuning", TUNING),
        ("tuning_read", READ),
        ("service", ["CreateService", "ModifyService", "DescribeService"]),
        ("service_read", ["DescribeService"]),
        ("none", []),
    ],
)
def test_permissions(world: World, client: Client, permission: Any, allowed: list[str]) -> None:
    world.account.permission = permission
    for action in ACTIONS:
        response = client.post(action)
        if action in allowed:
            assert response.status_code != 403
        else:
            assert error(response) == (403, "AccessDenied")
            # The key is fine: this is not the identity service speaking.
            assert "X-Bce-Error-Code" not in response.headers


def test_several_accounts(world: World, client: Client) -> None:
    world.accounts.append(Account(access_key_id="second", secret_access_key="s", permission="none"))
    client.access_key_id, client.secret = "second", "s"
    assert error(client.post("DescribeModelCompTasks")) == (403, "AccessDenied")


@pytest.mark.parametrize("path", ["/v2/elsewhere", "/v2/model/", "/"])
def test_an_unknown_path_is_answered_and_logged(world: World, client: Client, path: str) -> None:
    response = client.post("DescribeModel", path=path)
    assert error(response) == (400, "InvalidURI")
    assert f"knows /v2/model, /v2/service, but not {path}. For another" in response.json()["message"]
    assert [(call.path, call.code) for call in world.calls] == [(path, "InvalidURI")]


def test_unknown_method(client: Client) -> None:
    assert client.http.get(f"{client.url}/v2/model").status_code == 405


@pytest.mark.parametrize(
    ("path", "action"),
    [("/v2/finetuning", "DescribeFineTuningTask"), ("/v2/model", "DescribeModel"), ("/v2/model", "ListSets")],
)
@pytest.mark.parametrize("permission", ["full", "none"])
def test_a_stub_answers_what_it_is_told(
    world: World, client: Client, path: str, action: str, permission: Any
) -> None:
    world.account.permission = permission
    world.stubs = [Stub(path=path, action=action, result={"taskId": "task-1"})]
    answer = client.post(action, {"anything": 1}, path=path)
    assert (answer.status_code, answer.json()["result"]) == (200, {"taskId": "task-1"})
    assert [(call.path, call.action, call.status) for call in world.calls] == [(path, action, 200)]
    client.secret = "wrong"
    assert error(client.post(action, path=path)) == (400, "SignatureDoesNotMatch")


def test_call_log(world: World, client: Client) -> None:
    client.page(maxKeys=5)
    client.post("DescribeModelCompTask", content=b"oops")
    httpx.post(f"{client.url}/v2/model", trust_env=False)
    first, second, third = world.calls
    assert (first.action, first.body, first.status, first.code) == (
        "DescribeModelCompTasks",
        {"maxKeys": 5},
        200,
        None,
    )
    assert (first.access_key_id, first.time) == (ACCESS_KEY_ID, world.now)
    assert (second.action, second.body, second.code) == ("DescribeModelCompTask", "oops", "MalformedJSON")
    assert (third.action, third.status, third.code, third.access_key_id) == ("", 403, "AccessDenied", None)
    assert world.count("DescribeModelCompTasks") == 1
