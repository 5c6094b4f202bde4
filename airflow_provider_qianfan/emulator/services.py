"""An online service, and how the platform shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.scenario import NO_UPDATE, Patch, ServiceSpec, ServiceStep
from airflow_provider_qianfan.emulator.timeline import Timed, given, time_text

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.scenario import Behaviour
    from airflow_provider_qianfan.emulator.timeline import Where

SERVICE_TYPE = "chat"

_STATE = ("run_status", "update_status", "model_set_id", "model_id")


@dataclass(slots=True, kw_only=True)
class Service(Timed[ServiceStep]):
    """An online service; what it is at a moment is the sum of its steps until then."""

    name: str
    description: str
    url_suffix: str
    base_model: str
    charge_type: str
    pay_type: str
    resource_config: dict[str, object]

    @classmethod
    def of(cls, spec: ServiceSpec, service_id: str, created: datetime) -> Service:
        """Return the service of a specification."""
        first = ServiceStep(update_status=NO_UPDATE, model_set_id=spec.model_set_id, model_id=spec.model_id)
        return cls(
            id=service_id,
            name=spec.name or service_id,
            description=spec.description,
            url_suffix=spec.url_suffix or service_id,
            base_model=spec.base_model,
            charge_type=spec.charge_type,
            pay_type=spec.pay_type,
            resource_config=dict(spec.resource_config),
            created=created,
            steps=(_on_top(first, spec.steps[0]), *spec.steps[1:]),
            patch=Patch(set=spec.set, omit=spec.omit),
            in_list=spec.in_list,
            in_detail=spec.in_detail,
        )

    def state(self, now: datetime) -> ServiceStep:
        """Return the latest step, with all that still holds of the steps before it."""
        first, *later = self.past(now)
        state = first
        for step in later:
            state = _on_top(state, step)
        return state

    def update(self, now: datetime, model_set_id: str, model_id: str, behaviour: Behaviour) -> None:
        """
        Begin an update to another version, beside whatever else is to happen to this service.

        An update that is on its way is forgotten.
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
            "baseModel": self.base_model,
            set_key: state.model_set_id,
            version_key: state.model_id,
            "name": self.name,
            "description": self.description,
            # A name that never resolves: nobody is to send it a prompt.
            "url": f"https://emulated.invalid/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{self.url_suffix}",
            "endpoint": self.url_suffix,
            "serviceType": SERVICE_TYPE,
            "runStatus": state.run_status,
            "updateStatus": state.update_status,
            "chargeType": self.charge_type,
            "payType": self.pay_type,
            "chargeStatus": "Opened",
            "resourceConfig": self.resource_config,
            **given({"createTime": time_text(self.created, behaviour.time_format)}),
        }
        if where == "list":
            return self.patched(row, state, self.in_list, state.in_list)
        return self.patched(row, state, self.in_detail, state.in_detail)


def _on_top(state: ServiceStep, step: ServiceStep) -> ServiceStep:
    """Return a step with what it leaves open filled from the state before it."""
    return replace(step, **{name: getattr(state, name) for name in _STATE if getattr(step, name) is None})
