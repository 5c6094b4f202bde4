"""An online service, and how the platform shows it."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.specs import ServiceSpec
from airflow_provider_qianfan.emulator.steps import NO_UPDATE, ServiceStep
from airflow_provider_qianfan.emulator.timeline import Timed, given, time_text

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_qianfan.emulator.behaviour import Behaviour
    from airflow_provider_qianfan.emulator.timeline import Where

SERVICE_TYPE = "chat"

_STATE = ("run_status", "update_status", "model_set_id", "model_id")


class Service(Timed[ServiceSpec, ServiceStep]):
    """An online service. Its state is the sum of its steps until now."""

    def __init__(self, service_id: str, spec: ServiceSpec, created: datetime) -> None:
        super().__init__(service_id, spec, created)
        first = ServiceStep(update_status=NO_UPDATE, model_set_id=spec.model_set_id, model_id=spec.model_id)
        self.steps = (_on_top(first, self.steps[0]), *self.steps[1:])

    @property
    def url_suffix(self) -> str:
        """The last part of the service's URL; the id if none is given."""
        return self.spec.url_suffix or self.id

    def state(self, now: datetime) -> ServiceStep:
        """Return the latest step, filled with everything from earlier steps that still holds."""
        return reduce(_on_top, self.past(now))

    def update(self, now: datetime, model_set_id: str, model_id: str, behaviour: Behaviour) -> None:
        """
        Begin an update to another version. All other future steps of this service stay.

        An update in progress is forgotten.
        """
        age, state = self.age(now), self.state(now)
        old = ServiceStep(model_set_id=state.model_set_id, model_id=state.model_id)
        new = ServiceStep(model_set_id=model_set_id, model_id=model_id)
        during = old if behaviour.updating_model == "old" else new
        after = new if behaviour.update_outcome == "updated" else old
        failed = behaviour.update_outcome == "update_failed"
        begin = replace(during, after=age, update_status=behaviour.updating_word)
        end = replace(
            after,
            after=age + behaviour.update_seconds,
            update_status=behaviour.update_failed_word if failed else NO_UPDATE,
            run_status="Failed" if behaviour.update_outcome == "run_failed" else None,
        )
        past = self.past(now)
        future = self.steps[len(past) :]
        others = [replace(step, update_status=None) for step in future if step.model_id is None]
        self.steps = (*past, begin, *sorted([*others, end], key=lambda step: step.after))

    def row(self, where: Where, now: datetime, behaviour: Behaviour) -> dict[str, Any]:
        """Return the service as the list or the detail action shows it."""
        state = self.state(now)
        swapped = behaviour.service_version_key == "modelVersionId"
        set_key, version_key = ("modelId", "modelVersionId") if swapped else ("modelSetId", "modelId")
        row: dict[str, Any] = {
            "serviceId": self.id,
            "baseModel": self.spec.base_model,
            set_key: state.model_set_id,
            version_key: state.model_id,
            "name": self.name,
            "description": self.spec.description,
            # A name that never resolves, so that nobody sends it a prompt.
            "url": f"https://emulated.invalid/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{self.url_suffix}",
            "endpoint": self.url_suffix,
            "serviceType": SERVICE_TYPE,
            "runStatus": state.run_status,
            "updateStatus": state.update_status,
            "chargeType": self.spec.charge_type,
            "payType": self.spec.pay_type,
            "chargeStatus": "Opened",
            "resourceConfig": dict(self.spec.resource_config),
            **given({"createTime": time_text(self.created, behaviour.time_format)}),
        }
        return self.patched(row, state, where)


def _on_top(state: ServiceStep, step: ServiceStep) -> ServiceStep:
    """Fill the gaps of a step from the state before it."""
    return replace(step, **{name: getattr(state, name) for name in _STATE if getattr(step, name) is None})
