"""The actions under ``/v2/service``: on online services."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_qianfan.emulator.body import Body, optional, required
from airflow_provider_qianfan.emulator.errors import inappropriate_json, refuse
from airflow_provider_qianfan.emulator.paging import cut_page
from airflow_provider_qianfan.emulator.specs import BASE_MODEL, ServiceSpec
from airflow_provider_qianfan.emulator.steps import NO_UPDATE, ServiceStep
from airflow_provider_qianfan.emulator.things import SERVICE_TYPE

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.things import Model
    from airflow_provider_qianfan.emulator.world import World

# https://cloud.baidu.com/doc/WENXINWORKSHOP/s/olub6bfdy, table of body parameters
_SUFFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,18}[a-z0-9]")


def create_service(world: World, body: Body) -> Body:
    """
    Do CreateService: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/olub6bfdy.

    Each call creates another service. Services run only on compute units that the account owns: the emulator
    sells nothing.
    """
    name, suffix = required(body, "name", str), required(body, "urlSuffix", str)
    description = optional(body, "description", str) or ""
    if not 2 <= len(name) <= 20:
        raise inappropriate_json("name has 2 to 20 characters.")
    if not _SUFFIX.fullmatch(suffix):
        raise inappropriate_json(
            "urlSuffix has 2 to 20 of a-z, 0-9, _ and -, and none of the last two at its ends."
        )
    if len(description) > 500:
        raise inappropriate_json("description has at most 500 characters.")
    if optional(body, "protocolVersion", int) not in (None, 1, 2):
        raise inappropriate_json("protocolVersion is 1 or 2.")
    if "resourceConfig" in body or "billing" in body:
        raise inappropriate_json("The emulator has no resources to sell: use deploymentConfig.")
    resources = _resources(required(body, "deploymentConfig", dict))
    model_set_id, model_id = required(body, "modelSetId", str), required(body, "modelId", str)
    model = _deployable(world, model_id)
    if any(service.url_suffix == suffix for service in world.services.existing()):
        refuse(world.behaviour.same_url_suffix, f"The urlSuffix {suffix} is taken.")
    number = world.next_number("service")
    service_id = world.services.add(
        ServiceSpec(
            model_id,
            model_set_id=model_set_id,
            id=f"svco-created{number}",
            name=name,
            description=description,
            url_suffix=suffix,
            resource_config=resources,
            base_model=BASE_MODEL if model is None else model.spec.model,
            timeline=world.scenario.created_services.timeline,
        )
    )
    return {"serviceId": service_id, "instanceId": f"emulatedinstance{number}"}


def _resources(config: Body) -> Body:
    units = required(config, "deploymentComputeUnitList", list)
    for unit in units:
        if not isinstance(unit, dict):
            raise inappropriate_json("deploymentComputeUnitList has something else than objects.")
        required(unit, "instanceId", str)
        required(unit, "deploymentReplicasCount", int)
    resources = {"replicasCount": required(config, "replicasCount", int)}
    qps = optional(config, "qps", int, float)
    return resources if qps is None else {**resources, "qps": qps}


def modify_service(world: World, body: Body) -> bool | None:
    """
    Do ModifyService: begin the update to another version.

    https://cloud.baidu.com/doc/qianfan-api/s/Emwbl485l
    """
    service_id, model_set_id, model_id = (
        required(body, key, str) for key in ("serviceId", "modelSetId", "modelId")
    )
    service, now = world.services.find(service_id), world.now
    if service is None:
        return None
    _deployable(world, model_id)
    state, behaviour = service.state(now), world.behaviour
    if state.run_status != "Serving":
        refuse(behaviour.modify_unready, f"The service {service_id} is {state.run_status}.")
    elif state.update_status == behaviour.updating_word:
        refuse(behaviour.modify_unready, f"The service {service_id} is being updated.")
    service.update(now, model_set_id, model_id, behaviour)
    return True


def describe_service(world: World, body: Body) -> Body | None:
    """Do DescribeService: https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7."""
    service = world.services.find(required(body, "serviceId", str))
    return None if service is None else service.row("detail", world.now, world.behaviour)


def list_services(world: World, body: Body) -> Body:
    """Do DescribeServices: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/0lub6chm4."""
    now, behaviour = world.now, world.behaviour
    # creator and protocolVersion filter nothing: the emulator's services have neither.
    optional(body, "creator", list)
    optional(body, "protocolVersion", int)
    name = optional(body, "name", str) or ""
    service_type = optional(body, "serviceType", list)
    run_status = optional(body, "runStatus", list)
    charge_type = optional(body, "chargeType", str)
    pay_type = optional(body, "payType", str)
    services = [
        service
        for service in world.services.listed()
        if name in service.name
        and (not service_type or SERVICE_TYPE in service_type)
        and (not run_status or service.state(now).run_status in run_status)
        and charge_type in (None, service.spec.charge_type)
        and pay_type in (None, service.spec.pay_type)
    ]
    page, info = cut_page(body, services, behaviour)
    return {"serviceList": [service.row("list", now, behaviour) for service in page], "pageInfo": info}


def deactivate_service(world: World, body: Body) -> Body | None:
    """Do DeactivateService: https://cloud.baidu.com/doc/qianfan/s/xmh4sv49o."""
    service, behaviour = world.services.find(required(body, "serviceId", str)), world.behaviour
    if service is None:
        return None
    if service.state(world.now).run_status == "Stopped":
        refuse(behaviour.deactivate_stopped, f"The service {service.id} is Stopped.")
    else:
        end = ServiceStep(run_status="Stopped", update_status=NO_UPDATE, after=behaviour.deactivating_seconds)
        service.divert(world.now, end)
    return {"operation": True, "message": ""}


def _deployable(world: World, model_id: str) -> Model | None:
    """
    Return a version; None if it is unknown, which is allowed.

    :raises ApiError: if the version is not ``Ready``, and ``deploy_unready`` of :class:`.behaviour.Behaviour`
        asks for an error.
    """
    world.produce_models()
    model = world.models.get(model_id)
    if model is not None and model.step(world.now).status != "Ready":
        refuse(world.behaviour.deploy_unready, f"The model version {model_id} is not Ready.")
    return model
