"""Operators that deploy a model version as an online service."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION
from airflow_provider_qianfan._compat import running, task_store
from airflow_provider_qianfan._xcoms import push
from airflow_provider_qianfan.api.service import (
    PROTOCOL_VERSIONS,
    check_description,
    check_name,
    check_url_suffix,
)
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.exceptions import QianfanResourceNotFoundError
from airflow_provider_qianfan.gate.arguments import (
    PAYING,
    IfExists,
    check_deployment_config,
    check_if_exists,
    check_text,
    is_rendered_later,
)
from airflow_provider_qianfan.gate.memory import DEFAULT_AUTH_GRACE, DEFAULT_MAX_UNHEALTHY, DEFAULT_SETTLE
from airflow_provider_qianfan.operators._waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_qianfan.api.exchange import Steps
    from airflow_provider_qianfan.changes.journal import Ports
    from airflow_provider_qianfan.changes.update import Served
    from airflow_provider_qianfan.sensors.service import QianfanServiceSensor


class _DeployingOperator(WaitingOperator):
    """Ask the platform for a deployment and, if that is asked for, wait for it as the sensor does."""

    def _checked_model_id(self, model_id: object) -> str:
        """Refuse what is pulled from a task that pushed nothing, such as a gate that was skipped."""
        try:
            return check_text("model_id", model_id)
        except ValueError as error:
            if model_id is not None and not isinstance(model_id, str):
                raise
            raise ValueError(
                f"model_id={clean(repr(model_id))}: there is no model version to deploy. Nothing was sent. If"
                " it comes from an upstream task, that task has pushed none: it may have been skipped."
            ) from error

    def _carry_out(self, steps: Any) -> Any:
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        with QianfanHook(self.qianfan_conn_id) as hook:
            begun: Steps[Any] = steps(hook.exchange)
            return hook.run(begun)

    def _ports(self) -> Ports:
        from airflow_provider_qianfan.changes.journal import Ports

        return Ports(self.settle, time.time, lambda level, text: self.log.log(level, "%s", text))

    def _wait(self, context: Context, service_id: str, model_id: str) -> Any:
        sensor = self._sensor(service_id, model_id)
        with running(sensor):
            return sensor.execute(context)

    def _sensor(self, service_id: str, model_id: str) -> QianfanServiceSensor:
        """Make the sensor that waits for the service; it says, pushes and raises what it always does."""
        from airflow_provider_qianfan.sensors.service import QianfanServiceSensor

        return QianfanServiceSensor(service_id=service_id, model_id=model_id, **self._for_the_sensor())


def _waited_for(event: object) -> tuple[str, str] | None:
    """Read the ids of the service and its model version out of a trigger's event, if they are in it."""
    from airflow_provider_qianfan.api.resource import SERVICE
    from airflow_provider_qianfan.gate.look import target_of
    from airflow_provider_qianfan.gate.resource import Resource

    told = target_of(event) if isinstance(event, Mapping) else None
    target = Resource.from_json(told) if isinstance(told, Mapping) else None
    if target is None or target.kind is not SERVICE or target.model_id is None:
        return None
    return target.id, target.model_id


class QianfanModifyServiceOperator(_DeployingOperator):
    """
    Update a service to another model version: https://cloud.baidu.com/doc/qianfan-api/s/Emwbl485l.

    The service is looked at first. If it serves that version already, nothing is sent, and the task succeeds.
    If the answer to the update is lost, or an earlier try may have asked for it, the service is looked at
    during ``settle``; the update is asked for again only if nothing of it has shown by then.
    A process that stood still, and may have been replaced by its next try, asks for nothing.

    While an update is in progress, the platform does not say to which version. If this task has asked for it,
    it is not asked for again. If somebody else has, and the service shows another version than
    ``model_id``, the platform is asked, and decides; if it shows ``model_id``, the task fails, and its next
    try looks again.

    XComs: ``previous_model_id`` and ``previous_model_set_id``, what the service served before this task, for
    a task that rolls back; ``return_value``, which is ``model_id``. With ``wait_for_completion`` what
    :class:`.QianfanServiceSensor` pushes, too: ``modelId`` and ``service``. Before Airflow 3.3, a later try
    that finds the version served pushes no previous one: nothing tells it what the first has found.

    :param service_id: the service, ``svco-…`` (templated).
    :param model_id: the model version that it is to serve, ``amv-…`` (templated). None and what an empty XCom
        renders to are refused.
    :param model_set_id: the model of that version, ``am-…``. Default: the platform is asked for it, and the
        version has to be ``Ready`` (templated).
    :param settle: seconds in which an update that was asked for may not show yet, default 120.
    :param wait_for_completion: wait until the service serves the version, as the sensor does, rather than end
        when the platform has taken the order (default).
    :param deferrable: wait in a triggerer. Default: ``[operators] default_deferrable``.
    :param poke_interval: seconds between two looks, default 60.
    :param timeout: seconds that one try waits, default ``[sensors] default_timeout`` (7 days).
    :param max_unhealthy: seconds without one healthy answer of the platform, default 3600. If deferrable, the
        worker and the triggerer have a clock each, for ``auth_grace``, too.
    :param auth_grace: seconds for which a key that has worked may be refused, or its proxy or CA bundle be
        unusable, default 600.
    :param qianfan_conn_id: a connection of type ``qianfan`` (templated).
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanGateError: the answer has no such service or version, the version was not made, or the
        service has it and failed or was stopped. Final.
    :raises QianfanError: for now: also if it is not known whether the update was asked for, or if another one
        is in progress. Retried as ``retries`` say.

    With ``wait_for_completion`` it also raises what :class:`.QianfanServiceSensor` raises.
    """

    _TEXTS = ("service_id", "model_id", "model_set_id", "qianfan_conn_id")
    template_fields: Sequence[str] = _TEXTS
    _OPTIONAL = ("model_set_id",)

    def __init__(
        self,
        *,
        service_id: str,
        model_id: str,
        model_set_id: str | None = None,
        settle: float | timedelta | None = DEFAULT_SETTLE,
        wait_for_completion: bool = False,
        deferrable: bool | None = None,
        poke_interval: float | timedelta | None = 60.0,
        timeout: float | timedelta | None = None,
        max_unhealthy: float | timedelta | None = DEFAULT_MAX_UNHEALTHY,
        auth_grace: float | timedelta | None = DEFAULT_AUTH_GRACE,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            settle=settle,
            wait_for_completion=wait_for_completion,
            deferrable=deferrable,
            poke_interval=poke_interval,
            timeout=timeout,
            max_unhealthy=max_unhealthy,
            auth_grace=auth_grace,
            qianfan_conn_id=qianfan_conn_id,
            **kwargs,
        )
        self.service_id = service_id
        self.model_id = model_id
        self.model_set_id = model_set_id
        self._check_literals()

    def execute(self, context: Context) -> Any:
        """Have the service updated, and wait for it if that is asked for."""
        # These load what a DAG file's parse need not.
        from airflow_provider_qianfan.changes.journal import Journal
        from airflow_provider_qianfan.changes.update import Swap, swap_once

        model_id = self._checked_model_id(self.model_id)
        self._check_arguments(context)
        service_id = self.service_id
        ti = context["ti"]

        def remember(previous: Served) -> None:
            push(context, "previous_model_id", previous.model_id)
            if previous.model_set_id is not None:
                push(context, "previous_model_set_id", previous.model_set_id)

        wanted = Swap(service_id, model_id, self.model_set_id, remember)
        identity = {"service_id": service_id, "model_id": model_id}
        journal = Journal(task_store(context), "qianfan_service_update", identity, ti.try_number)
        self._carry_out(lambda exchange: swap_once(exchange, wanted, journal, self._ports()))
        if not self.wait_for_completion:
            return model_id
        return self._wait(context, service_id, model_id)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Resume after a deferral, as the sensor does. Asks for no update."""
        service_id, model_id = _waited_for(event) or (
            check_text("service_id", self.service_id),
            self._checked_model_id(self.model_id),
        )
        return self._sensor(service_id, model_id).execute_complete(context, event)


class QianfanCreateServiceOperator(_DeployingOperator):
    """
    Create a service of a model version, once: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

    Only on compute units that the account owns (``deploymentConfig``). The other form of the action, with
    ``resourceConfig`` and ``billing``, buys resources, and is refused.

    The platform has no idempotency key, so a mark is put behind the description, ``… [airflow:<16 hex>]``,
    made from the dag id, the run id, the task id, the map index and ``nonce``. It is the same in each try,
    and after a clear. Before a service is created, one of the same name with this mark is looked for, and
    adopted. If the answer to the creation is lost, or an earlier try may have sent one, it is looked for
    during ``settle``. So there will be one service, if it becomes visible in the list within that time. Each
    sending of the request comes after a look and a note, leaves within seconds of both or not at all, and
    expires within ``settle``.

    XComs: ``service_id``, as soon as it is known; ``return_value``, the same. With ``wait_for_completion``
    what :class:`.QianfanServiceSensor` pushes: ``return_value`` and ``modelId``, the model version, once it
    is served; ``service``, the service as the platform described it.

    :param name: the service's name, 2 to 20 characters (templated).
    :param url_suffix: the end of its URL: 2 to 20 of a-z, 0-9, _ and -, and none of the last two at its ends
        (templated).
    :param model_id: the model version that it serves, ``amv-…`` (templated). None and what an empty XCom
        renders to are refused.
    :param deployment_config: the platform's ``deploymentConfig``: ``deploymentComputeUnitList`` names the
        compute units. Anything else in it is passed on as it is (templated).
    :param model_set_id: the model of that version, ``am-…``. Default: the platform is asked for it, and the
        version has to be ``Ready`` (templated).
    :param description: free text; the mark comes after it, and both have at most 500 characters (templated).
    :param protocol_version: 1 or 2. Default: the platform's, 1.
    :param nonce: text that tells one creation from another in the same task of the same run; another value,
        and a cleared task creates anew. Must not change from try to try (templated).
    :param if_exists: what to do if an earlier try has created the service: ``"adopt"`` it (default), or
        ``"fail"``.
    :param settle: seconds in which a service that was created may still be missing in the list, default 120.
    :param wait_for_completion: wait until the service serves the version, as the sensor does, rather than end
        when it has been created (default).
    :param deferrable: wait in a triggerer. Default: ``[operators] default_deferrable``.
    :param poke_interval: seconds between two looks, default 60.
    :param timeout: seconds that one try waits, default ``[sensors] default_timeout`` (7 days).
    :param max_unhealthy: seconds without one healthy answer of the platform, default 3600. If deferrable, the
        worker and the triggerer have a clock each, for ``auth_grace``, too.
    :param auth_grace: seconds for which a key that has worked may be refused, or its proxy or CA bundle be
        unusable, default 600.
    :param qianfan_conn_id: a connection of type ``qianfan`` (templated).
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanResourceExistsError: ``if_exists="fail"``. Final.
    :raises QianfanResourceAmbiguousError: several services carry the mark. Final.
    :raises QianfanGateError: there is no such version, or it was not made. Final.
    :raises QianfanError: for now: also if it is not known whether the service was created. Retried as
        ``retries`` say.

    With ``wait_for_completion`` it also raises what :class:`.QianfanServiceSensor` raises.
    """

    _TEXTS = ("name", "url_suffix", "model_id", "model_set_id", "description", "nonce", "qianfan_conn_id")
    _STRUCTURES = ("deployment_config",)
    template_fields: Sequence[str] = (*_TEXTS, *_STRUCTURES)
    template_fields_renderers = {"deployment_config": "json"}  # noqa: RUF012  Airflow's own form
    _OPTIONAL = ("model_set_id", "description", "nonce")

    def __init__(
        self,
        *,
        name: str,
        url_suffix: str,
        model_id: str,
        deployment_config: Mapping[str, Any],
        model_set_id: str | None = None,
        description: str | None = None,
        protocol_version: int | None = None,
        nonce: str | None = None,
        if_exists: IfExists | None = "adopt",
        settle: float | timedelta | None = DEFAULT_SETTLE,
        wait_for_completion: bool = False,
        deferrable: bool | None = None,
        poke_interval: float | timedelta | None = 60.0,
        timeout: float | timedelta | None = None,
        max_unhealthy: float | timedelta | None = DEFAULT_MAX_UNHEALTHY,
        auth_grace: float | timedelta | None = DEFAULT_AUTH_GRACE,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        **kwargs: Any,
    ) -> None:
        for argument in ("resource_config", "billing"):
            if argument in kwargs:
                raise ValueError(f"{argument} {PAYING}")
        super().__init__(
            settle=settle,
            wait_for_completion=wait_for_completion,
            deferrable=deferrable,
            poke_interval=poke_interval,
            timeout=timeout,
            max_unhealthy=max_unhealthy,
            auth_grace=auth_grace,
            qianfan_conn_id=qianfan_conn_id,
            **kwargs,
        )
        self.name = name
        self.url_suffix = url_suffix
        self.model_id = model_id
        self.deployment_config = check_deployment_config(deployment_config)
        self.model_set_id = model_set_id
        self.description = description
        self.protocol_version = protocol_version
        self.nonce = nonce
        self.if_exists = check_if_exists("adopt" if if_exists is None else if_exists)
        self._check_literals()
        for check, value in ((check_name, name), (check_url_suffix, url_suffix)):
            if not is_rendered_later(value):
                check(value)
        is_number = isinstance(protocol_version, int) and not isinstance(protocol_version, bool)
        if protocol_version is not None and not (is_number and protocol_version in PROTOCOL_VERSIONS):
            raise ValueError(f"protocol_version={clean(repr(protocol_version))} is neither 1 nor 2.")

    def execute(self, context: Context) -> Any:
        """Create the service, or adopt it, and wait for it if that is asked for."""
        # These load what a DAG file's parse need not.
        from airflow_provider_qianfan.changes.journal import Journal, fingerprint
        from airflow_provider_qianfan.changes.once import create_once
        from airflow_provider_qianfan.changes.service import NewService

        model_id = self._checked_model_id(self.model_id)
        self._check_arguments(context)
        ti = context["ti"]
        wanted = NewService(
            name=check_name(self.name),
            url_suffix=check_url_suffix(self.url_suffix),
            model_id=model_id,
            model_set_id=self.model_set_id,
            deployment_config=check_deployment_config(self.deployment_config, rendered=True),
            mark=fingerprint(ti.dag_id, ti.run_id, ti.task_id, ti.map_index, self.nonce),
            description=self.description,
            protocol_version=self.protocol_version,
        )
        check_description(wanted.marked)
        journal = Journal(task_store(context), "qianfan_service", {"mark": wanted.mark}, ti.try_number)
        service_id = self._carry_out(
            lambda exchange: create_once(exchange, wanted, self.if_exists, journal, self._ports())
        )
        push(context, "service_id", service_id)
        self.log.info("The service is %s.", clean(service_id, 80))
        if not self.wait_for_completion:
            return service_id
        return self._wait(context, service_id, model_id)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Resume after a deferral, as the sensor does. Creates nothing."""
        waited_for = _waited_for(event)
        if waited_for is None:
            ti = context["ti"]
            pushed = ti.xcom_pull(task_ids=ti.task_id, key="service_id", map_indexes=ti.map_index)
            if not isinstance(pushed, str) or not pushed:
                raise QianfanResourceNotFoundError(
                    "The id of the service that this task has created is lost: its XCom service_id is gone."
                    " Nothing is created in its place. Clear this task: it looks for the service first."
                )
            waited_for = pushed, self._checked_model_id(self.model_id)
        return self._sensor(*waited_for).execute_complete(context, event)
