from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec
from airflow_provider_qianfan.emulator.steps import Patch, ServiceStep
from airflow_provider_qianfan.emulator.world import World
from tests.emulator.client import ask

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "modelId": "amv-one",
    "modelSetId": "am-one",
    "name": "chat",
    "urlSuffix": "chat",
    "deploymentConfig": {
        "replicasCount": 1,
        "deploymentComputeUnitList": [{"instanceId": "unit-one", "deploymentReplicasCount": 1}],
    },
}
REFUSALS = [
    ("accepted", None),
    ("inappropriate_json", "400 InappropriateJSON"),
    ("precondition_failed", "412 PreconditionFailed"),
]


def make(scenario: Any = None) -> World:
    return World(scenario, ManualClock(START))


def look(world: World, service_id: str) -> tuple[str, str, str]:
    row = ask(world, "DescribeService", serviceId=service_id)
    assert row is not None
    return row["runStatus"], row["updateStatus"], row["modelId"]


def looks(world: World, service_id: str, *moments: float) -> list[tuple[str, str, str]]:
    """Return what a service is at rising world seconds."""
    seen = []
    for moment in moments:
        world.advance(moment - world.elapsed)
        seen.append(look(world, service_id))
    return seen


def modify(world: World, service_id: str, model_id: str = "amv-new") -> bool | None:
    return ask(world, "ModifyService", serviceId=service_id, modelSetId="am-new", modelId=model_id)


def test_row_of_the_documentation() -> None:
    world = make()
    world.services.add(
        ServiceSpec("amv-one", id="svco-one", model_set_id="am-one", name="chat", url_suffix="talk")
    )
    expected = {
        "serviceId": "svco-one",
        "baseModel": "emulated-base-model",
        "modelSetId": "am-one",
        "modelId": "amv-one",
        "name": "chat",
        "description": "",
        "url": "https://emulated.invalid/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/talk",
        "endpoint": "talk",
        "serviceType": "chat",
        "runStatus": "Serving",
        "updateStatus": "None",
        "chargeType": "ComputingUnit",
        "payType": "Postpay",
        "chargeStatus": "Opened",
        "resourceConfig": {"type": "GPU-1-1", "qps": 1, "replicasCount": 1, "region": "bj"},
        "createTime": "2026-01-02T11:04:05+08:00",
    }
    assert ask(world, "DescribeService", serviceId="svco-one") == expected
    assert ask(world, "DescribeServices") == {
        "serviceList": [expected],
        "pageInfo": {"marker": "", "maxKeys": 10, "isTruncated": False},
    }


def test_the_other_spelling_of_the_version() -> None:
    world = make()
    service_id = world.services.add(ServiceSpec("amv-one", model_set_id="am-one"))
    world.behaviour.service_version_key = "modelVersionId"
    row = ask(world, "DescribeService", serviceId=service_id)
    assert row is not None
    assert (row["modelId"], row["modelVersionId"]) == ("am-one", "amv-one")
    assert "modelSetId" not in row


def test_create() -> None:
    world = make()
    first, second = ask(world, "CreateService", **SPEC), ask(world, "CreateService", **SPEC)
    assert first["serviceId"] != second["serviceId"]
    assert first["instanceId"] != second["instanceId"]
    assert [run for run, _, _ in looks(world, first["serviceId"], 0, 2, 8)] == ["New", "Deploying", "Serving"]


def test_created_services_follow_the_scenario() -> None:
    timeline = [{"run_status": "Deploying"}, {"after": 5, "run_status": "Failed"}]
    world = make({"created_services": {"timeline": timeline}})
    service_id = ask(world, "CreateService", **SPEC)["serviceId"]
    assert [run for run, _, _ in looks(world, service_id, 0, 5)] == ["Deploying", "Failed"]


@pytest.mark.parametrize(("switch", "error"), REFUSALS)
def test_same_url_suffix(switch: Any, error: str | None) -> None:
    world = make()
    world.behaviour.same_url_suffix = switch
    ask(world, "CreateService", **SPEC)
    if error is None:
        ask(world, "CreateService", **SPEC)
        assert len(world.services) == 2
        return
    with pytest.raises(ApiError, match=error):
        ask(world, "CreateService", **SPEC)
    assert len(world.services) == 1


@pytest.mark.parametrize("status", ["Creating", "Fail"])
@pytest.mark.parametrize(("switch", "error"), REFUSALS)
def test_a_version_that_is_not_ready(switch: Any, error: str | None, status: Any) -> None:
    world = make()
    world.behaviour.deploy_unready = switch
    world.models.add(ModelSpec(id="amv-one", status=status))
    service_id = world.services.add(ServiceSpec("amv-old"))
    if error is None:
        ask(world, "CreateService", **SPEC)
        assert modify(world, service_id, "amv-one") is True
        return
    with pytest.raises(ApiError, match=error):
        ask(world, "CreateService", **SPEC)
    with pytest.raises(ApiError, match=error):
        modify(world, service_id, "amv-one")
    assert look(world, service_id) == ("Serving", "None", "amv-old")


def test_base_model_of_a_known_version() -> None:
    world = make()
    world.models.add(ModelSpec(id="amv-one", model="base"))
    row = ask(world, "DescribeService", serviceId=ask(world, "CreateService", **SPEC)["serviceId"])
    assert row is not None
    assert row["baseModel"] == "base"


@pytest.mark.parametrize(
    ("shown", "outcome", "during", "after"),
    [
        ("old", "updated", "amv-old", ("Serving", "None", "amv-new")),
        ("new", "updated", "amv-new", ("Serving", "None", "amv-new")),
        ("old", "rolled_back", "amv-old", ("Serving", "None", "amv-old")),
        ("new", "rolled_back", "amv-new", ("Serving", "None", "amv-old")),
        ("old", "update_failed", "amv-old", ("Serving", "Failed", "amv-old")),
        ("new", "run_failed", "amv-new", ("Failed", "None", "amv-old")),
    ],
)
def test_modify(shown: Any, outcome: Any, during: str, after: tuple[str, str, str]) -> None:
    world = make()
    world.behaviour.updating_model, world.behaviour.update_outcome = shown, outcome
    world.behaviour.update_seconds = 60
    world.behaviour.updating_word = "Busy"
    service_id = world.services.add(ServiceSpec("amv-old"))
    assert modify(world, service_id) is True
    busy = ("Serving", "Busy", during)
    assert looks(world, service_id, 0, 59.9, 60, 1e6) == [busy, busy, after, after]


def test_modify_after_an_update_that_failed() -> None:
    world = make()
    world.behaviour.update_outcome = "update_failed"
    service_id = world.services.add(ServiceSpec("amv-old"))
    modify(world, service_id)
    world.advance(5)
    world.behaviour.update_outcome = "updated"
    assert modify(world, service_id) is True
    assert looks(world, service_id, 10) == [("Serving", "None", "amv-new")]


@pytest.mark.parametrize(("switch", "error"), REFUSALS[1:])
@pytest.mark.parametrize("run_status", ["New", "Deploying", "Failed", "Stopped"])
def test_modify_of_a_service_that_does_not_serve(switch: Any, error: str, run_status: Any) -> None:
    world = make()
    world.behaviour.modify_unready = switch
    service_id = world.services.add(ServiceSpec("amv-old", run_status=run_status))
    with pytest.raises(ApiError, match=error):
        modify(world, service_id)
    assert look(world, service_id) == (run_status, "None", "amv-old")


def test_modify_during_an_update() -> None:
    world = make()
    service_id = world.services.add(ServiceSpec("amv-old"))
    modify(world, service_id, "amv-one")
    world.advance(3)
    with pytest.raises(ApiError, match="412 PreconditionFailed"):
        modify(world, service_id, "amv-two")
    world.behaviour.modify_unready = "accepted"
    assert modify(world, service_id, "amv-two") is True
    expected = [("Serving", "Updating", "amv-old"), ("Serving", "None", "amv-two")]
    assert looks(world, service_id, 7.9, 8) == expected


def test_modify_of_a_service_that_is_being_deployed() -> None:
    world = make()
    world.behaviour.modify_unready = "accepted"
    service_id = ask(world, "CreateService", **SPEC)["serviceId"]
    world.advance(4)
    modify(world, service_id)
    assert looks(world, service_id, 4, 8, 9) == [
        ("Deploying", "Updating", "amv-one"),
        ("Serving", "Updating", "amv-one"),
        ("Serving", "None", "amv-new"),
    ]


def test_deactivate() -> None:
    world = make()
    service_id = world.services.add(ServiceSpec("amv-one"))
    assert ask(world, "DeactivateService", serviceId=service_id) == {"operation": True, "message": ""}
    assert [run for run, _, _ in looks(world, service_id, 1.9, 2, 1e6)] == ["Serving", "Stopped", "Stopped"]


def test_deactivate_ends_an_update() -> None:
    world = make()
    service_id = world.services.add(ServiceSpec("amv-old"))
    modify(world, service_id)
    ask(world, "DeactivateService", serviceId=service_id)
    assert looks(world, service_id, 2, 10) == [("Stopped", "None", "amv-old")] * 2


def test_modify_does_not_call_a_deactivation_off() -> None:
    world = make()
    service_id = world.services.add(ServiceSpec("amv-old"))
    ask(world, "DeactivateService", serviceId=service_id)
    world.advance(1)
    modify(world, service_id)
    expected = [("Serving", "Updating", "amv-old"), ("Stopped", "Updating", "amv-old")]
    assert looks(world, service_id, 1, 2, 6) == [*expected, ("Stopped", "None", "amv-new")]


@pytest.mark.parametrize(("switch", "error"), REFUSALS)
def test_deactivate_of_a_stopped_service(switch: Any, error: str | None) -> None:
    world = make()
    world.behaviour.deactivate_stopped = switch
    service_id = world.services.add(ServiceSpec("amv-one", run_status="Stopped"))
    if error is None:
        assert ask(world, "DeactivateService", serviceId=service_id) == {"operation": True, "message": ""}
        return
    with pytest.raises(ApiError, match=error):
        ask(world, "DeactivateService", serviceId=service_id)


def ids(world: World, **body: Any) -> list[str]:
    return [row["serviceId"] for row in ask(world, "DescribeServices", **body)["serviceList"]]


def test_filters() -> None:
    world = make()
    world.services.add(ServiceSpec("amv-one", id="svco-one", name="nightly-chat"))
    world.services.add(
        ServiceSpec(
            model_id="amv-one",
            id="svco-two",
            name="chat",
            run_status="Stopped",
            charge_type="Tokens",
            pay_type="Prepay",
        )
    )
    assert ids(world, name="chat") == ["svco-two", "svco-one"]
    assert ids(world, name="night") == ["svco-one"]
    assert ids(world, runStatus=["Serving", "New"]) == ["svco-one"]
    assert ids(world, runStatus=[]) == ["svco-two", "svco-one"]
    assert ids(world, serviceType=["completions"]) == []
    assert ids(world, serviceType=["chat"], chargeType="Tokens") == ["svco-two"]
    assert ids(world, payType="Postpay") == ["svco-one"]


@pytest.mark.parametrize("page_reverse", [False, True])
@pytest.mark.parametrize("marker", ["inclusive", "exclusive", "overlapping"])
def test_paging(marker: Any, page_reverse: bool) -> None:
    world = make()
    world.behaviour.marker = marker
    for n in range(7):
        world.services.add(ServiceSpec("amv-one", id=f"svco-{n}", created=n - 10))
    seen: list[str] = []
    info: dict[str, Any] = {"isTruncated": True, "nextMarker": None}
    while info["isTruncated"]:
        page = ask(world, "DescribeServices", marker=info["nextMarker"], maxKeys=3, pageReverse=page_reverse)
        info = page["pageInfo"]
        assert ("nextMarker" in info) is info["isTruncated"]
        seen += [row["serviceId"] for row in page["serviceList"]]
    assert sorted(set(seen), reverse=not page_reverse) == list(dict.fromkeys(seen))
    assert len(set(seen)) == 7
    with pytest.raises(ApiError, match="400 InvalidMarker"):
        ask(world, "DescribeServices", marker="svco-nobody")


def test_list_lag() -> None:
    world = make()
    world.behaviour.list_lag = 30
    service_id = ask(world, "CreateService", **SPEC)["serviceId"]
    assert ids(world) == []
    assert look(world, service_id)
    world.advance(30)
    assert ids(world) == [service_id]


def test_set_service_changes_what_is_named() -> None:
    world = make()
    service_id = ask(world, "CreateService", **SPEC)["serviceId"]
    world.services.change(service_id, ServiceStep(model_id="amv-two"))
    assert looks(world, service_id, 0, 100) == [("New", "None", "amv-two")] * 2
    world.services.change(
        service_id, ServiceStep(run_status="Serving", update_status="Odd", set={"runStatus": "Odder"})
    )
    assert look(world, service_id) == ("Odder", "Odd", "amv-two")
    with pytest.raises(KeyError):
        world.services.change("svco-nobody", ServiceStep(run_status="Failed"))


def test_divert_and_patches() -> None:
    world = make()
    service_id = world.services.add(
        ServiceSpec("amv-old", omit=("url",), in_detail=Patch(set={"only": "here"}))
    )
    world.services.change(
        service_id,
        ServiceStep(update_status="Updating", in_list=Patch(omit=("updateStatus",))),
        ServiceStep(after=5, update_status="None", model_id="amv-new"),
    )
    row, (listed,) = (
        ask(world, "DescribeService", serviceId=service_id),
        ask(world, "DescribeServices")["serviceList"],
    )
    assert row is not None
    assert (row["only"], row["updateStatus"]) == ("here", "Updating")
    assert "url" not in row
    assert "only" not in listed
    assert "updateStatus" not in listed
    assert looks(world, service_id, 5) == [("Serving", "None", "amv-new")]
    assert "updateStatus" in ask(world, "DescribeServices")["serviceList"][0]


ACTIONS = ["DescribeService", "DeactivateService", "ModifyService"]


def call(world: World, action: str) -> Any:
    keys = {"modelSetId": "am-x", "modelId": "amv-x"} if action == "ModifyService" else {}
    return ask(world, action, serviceId="svco-nobody", **keys)


@pytest.mark.parametrize("action", ACTIONS)
def test_not_found(action: str) -> None:
    with pytest.raises(ApiError, match="404 NoSuchKey"):
        call(make(), action)


@pytest.mark.parametrize("action", ACTIONS)
def test_not_found_as_null(action: str) -> None:
    world = make()
    world.behaviour.not_found = "null_result"
    assert call(world, action) is None


def test_remove_duplicate_and_reset() -> None:
    world = make()
    world.services.add(ServiceSpec("amv-one", id="svco-one"))
    with pytest.raises(ValueError, match="already a service 'svco-one'"):
        world.services.add(ServiceSpec("amv-one", id="svco-one"))
    world.services.remove("svco-one")
    world.services.add(ServiceSpec("amv-one"))
    world.models.add(ModelSpec(id="amv-one"))
    world.reset()
    assert (world.services, world.models) == ({}, {})
