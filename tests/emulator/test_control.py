from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec, TaskSpec
from tests.emulator.client import Client, error

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World

TASK: dict[str, Any] = {"id": "amva-one", "source_model_id": "amv-source000001", "status": "running"}


def test_state(world: World, client: Client) -> None:
    world.tasks.add(TaskSpec("amv-source000001", id="amva-one", status="failed", failed_reason="why"))
    client.page()
    client.post("DescribeModelCompTask")
    state = client.control("state").json()
    assert state["scenario"] == "empty"
    assert state["now"] == world.now.isoformat()
    assert [(task["id"], task["status"], task["failedReason"]) for task in state["tasks"]] == [
        ("amva-one", "failed", "why")
    ]
    assert state["calls"] == {
        "DescribeModelCompTasks": {"count": 1, "by_status": {"200": 1}},
        "DescribeModelCompTask": {"count": 1, "by_status": {"400": 1}},
    }
    assert state["behaviour"]["marker"] == "inclusive"
    assert "emulator-secret-access-key" not in client.control("state").text


@pytest.mark.parametrize("clock", [ManualClock(), None])
def test_clock(clock: ManualClock | None) -> None:
    with EmulatorServer("demo", clock) as emulator, Client(emulator.url) as client:
        state = client.control("clock", {"advance": 10}).json()
        assert 10 <= state["elapsed"] < 15
        assert {task["status"] for task in state["tasks"]} == {"succeeded", "failed"}


def test_tasks(world: World, client: Client) -> None:
    assert client.control("tasks", TASK).status_code == 200
    assert client.ids() == ["amva-one"]
    assert client.control("tasks/amva-one", {"status": "succeeded", "model_id": "amv-x"}).status_code == 200
    assert client.detail("amva-one")["modelId"] == "amv-x"
    assert client.http.delete(f"{client.url}/_emulator/tasks/amva-one").status_code == 200
    assert client.ids() == []
    assert client.control("tasks/amva-one", {"status": "failed"}).status_code == 404


def test_models(world: World, client: Client) -> None:
    assert client.control("models", {"id": "amv-one", "status": "Creating"}).status_code == 200
    assert client.result("DescribeModel", modelId="amv-one")["status"] == "Creating"
    world.tasks.add(TaskSpec("amv-one", status="succeeded", model_id="amv-made"))
    state = client.control("models/amv-made", {"after": 5, "status": "Fail"}).json()
    assert {model["modelId"]: model["status"] for model in state["models"]} == {
        "amv-one": "Creating",
        "amv-made": "Ready",
    }
    world.advance(5)
    assert client.result("DescribeModel", modelId="amv-made")["status"] == "Fail"
    assert client.control("models/amv-nobody", {"status": "Ready"}).status_code == 404


def test_services(client: Client) -> None:
    state = client.control("services", {"id": "svco-one", "model_id": "amv-one"}).json()
    assert [(row["serviceId"], row["runStatus"]) for row in state["services"]] == [("svco-one", "Serving")]
    assert client.control("services/svco-one", {"model_id": "amv-two"}).status_code == 200
    row = client.result("DescribeService", serviceId="svco-one")
    assert (row["runStatus"], row["modelId"]) == ("Serving", "amv-two")
    assert client.http.delete(f"{client.url}/_emulator/services/svco-one").status_code == 200
    assert client.result("DescribeServices")["serviceList"] == []
    assert client.control("services/svco-one", {"run_status": "Failed"}).status_code == 404
    assert client.http.delete(f"{client.url}/_emulator/services/svco-one").status_code == 404


def test_faults(client: Client) -> None:
    state = client.control("faults", {"add": [{"server_error": 503, "from": 1, "count": 5}]}).json()
    assert state["faults"] == ["* from=1 count=5 server_error=503"]
    assert client.post("DescribeModelCompTasks").status_code == 503
    client.control("faults", {"clear": True})
    assert client.post("DescribeModelCompTasks").status_code == 200


def test_stubs(world: World, client: Client) -> None:
    stub = {"path": "/v2/finetuning", "action": "DescribeFineTuningTask", "result": {"runStatus": "Running"}}
    state = client.control("stubs", {"add": [stub]}).json()
    assert state["stubs"] == [stub]
    client.control("stubs", {"add": [{**stub, "result": {"runStatus": "Done"}}]})
    assert client.post(stub["action"], path=stub["path"]).json()["result"] == {"runStatus": "Done"}
    client.control("stubs", {"clear": True})
    assert error(client.post(stub["action"], path=stub["path"])) == (400, "InvalidURI")


def test_an_unknown_path_changes_nothing(client: Client) -> None:
    answer = client.control("task", TASK)
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no POST of '/_emulator/task'"})


def test_behaviour_changes_only_what_is_named(world: World, client: Client) -> None:
    world.behaviour.order = "oldest_first"
    state = client.control("behaviour", {"marker": "exclusive"}).json()
    assert (state["behaviour"]["marker"], state["behaviour"]["order"]) == ("exclusive", "oldest_first")
    assert world.behaviour.marker == "exclusive"


def test_credentials(client: Client) -> None:
    client.control("credentials", {"accounts": [{"access_key_id": "new", "secret_access_key": "s"}]})
    assert error(client.post("DescribeModelCompTasks")) == (403, "InvalidAccessKeyId")
    client.access_key_id, client.secret = "new", "s"
    assert client.post("DescribeModelCompTasks").status_code == 200


def test_reset(world: World, client: Client) -> None:
    client.control("tasks", TASK)
    client.page()
    state = client.control("reset", {}).json()
    assert (state["tasks"], state["calls"], state["elapsed"]) == ([], {}, 0)


@pytest.mark.parametrize(
    ("path", "body", "hint"),
    [
        ("clock", {"advance": "5"}, "clock.advance: expected a number"),
        ("clock", {"advance": -5}, "only moves forward"),
        ("clock", {}, "'advance' is missing"),
        ("tasks", {**TASK, "statsu": "x"}, "unknown key 'statsu'"),
        ("tasks", {**TASK, "id": "amva-old"}, "already a task 'amva-old'"),
        ("tasks/amva-old", {"status": "done"}, "not one of creating"),
        ("models", {"id": "amv-old"}, "already a model version 'amv-old'"),
        ("models/amv-old", {"status": "ready"}, "not one of Ready"),
        ("services", {"id": "svco-old", "model_id": "amv-x"}, "already a service 'svco-old'"),
        ("services/svco-old", {"run_status": "Gone"}, "not one of New"),
        ("faults", {"add": [{"latency": "x"}]}, "faults.add[0].latency"),
        ("behaviour", {"order": "random"}, "behaviour.order"),
        ("behaviour", [], "expected a mapping"),
        ("credentials", {"accounts": []}, "needs at least one"),
        ("reset", {"now": True}, "unknown key 'now'"),
    ],
)
def test_mistakes_change_nothing(world: World, client: Client, path: str, body: Any, hint: str) -> None:
    world.tasks.add(TaskSpec("amv-source000001", id="amva-old"))
    world.models.add(ModelSpec(id="amv-old"))
    world.services.add(ServiceSpec("amv-old", id="svco-old"))
    before = client.control("state").json()
    response = client.control(path, body)
    assert response.status_code == 400
    assert hint in response.json()["error"]
    assert client.control("state").json() == before


def test_not_json(client: Client) -> None:
    assert client.http.post(f"{client.url}/_emulator/reset", content=b"{").status_code == 400
