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
from airflow_provider_qianfan.assets._lineage import Lineage
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
    from airflow.sdk import Asset, AssetAlias, Context

    from airflow_provider_qianfan.api.exchange import Steps
    from airflow_provider_qianfan.changes.journal import Ports
    from airflow_provider_qianfan.changes.update import Served
    from airflow_provider_qianfan.sensors.service import QianfanServiceSensor


class _DeployingOperator(WaitingOperator):
    """Ask the platform for a deployment. With ``wait_for_completion``, wait for it as the sensor does."""

    def _checked_model_id(self, model_id: object) -> str:
        """Refuse the value of an upstream task that pushed nothing, such as a gate that was skipped."""
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
        """Make the sensor that waits for the service. Its lines, XComs and errors are the usual ones."""
        from airflow_provider_qianfan.sensors.service import QianfanServiceSensor

        self._lineage = Lineage(model_id, service_id=service_id)
        return QianfanServiceSensor(service_id=service_id, model_id=model_id, **self._for_the_sensor())


def _waited_for(event: object) -> tuple[str, str] | None:
    """Read the ids of the service and the model version from a trigger's event; None without them."""
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
    Update a service to another model version.

    Platform page: https://cloud.baidu.com/doc/qianfan-api/s/Emwbl485l.

    The operator looks at the service first. If the service already serves the model version, the operator
    sends nothing and succeeds. If the answer to the update was lost, or if an earlier try may have sent the
    update, the operator watches the service until ``settle`` is over. It sends the update again only if the
    service shows no sign of the update by then. A process that was suspended, and may have been replaced by
    its next try, sends nothing.

    While an update is in progress, the platform does not say to which model version. If this task sent the
    update, the operator does not send it again. If somebody else sent it, the version that the service shows
    decides. If the service shows another version than ``model_id``, the operator sends its update, and the
    platform accepts or refuses it. If the service shows ``model_id``, the task fails, and its next try looks
    again.

    With ``wait_for_completion`` the operator then waits until the service serves the model version, and
    pushes and raises what :class:`.QianfanServiceSensor` does. ``asset`` and
    ``deferrable=True`` need ``wait_for_completion``.

    XComs: ``previous_model_id`` and ``previous_model_set_id`` are what the service served before this task;
    use them to roll back. ``return_value`` is ``model_id``. With ``wait_for_completion``, ``modelId`` is the
    model version, and ``service`` is the service as the platform described it. Before Airflow 3.3, a later
    try that finds the update already done pushes no ``previous_…``: Airflow keeps no note of what the first
    try found.

    :param service_id: the service, ``svco-…`` (templated).
    :param model_id: the model version to serve, ``amv-…`` (templated).
    :param model_set_id: the model set that the model version belongs to, ``am-…``. Default: the operator asks
        the platform, and the model version has to be ``Ready`` (templated).
    :param settle: seconds that the platform may take to show what was just created or changed. Default: 120.
    :param wait_for_completion: wait until the platform has finished. Default: False; the operator ends as
        soon as the platform has accepted the request.
    :param deferrable: wait in the triggerer instead of in a worker. Default: Airflow's ``[operators]
        default_deferrable``.
    :param poke_interval: seconds between two looks. Default: 60. In a deferred wait, at least 1.
    :param timeout: seconds that one try waits. In a deferred wait, ``execution_timeout`` ends the try, too,
        if it is shorter. Default: Airflow's ``[sensors] default_timeout`` (7 days).
    :param max_unhealthy: seconds that a wait goes on without a healthy answer from the platform. Default:
        3600. In a deferred wait, the worker and the triggerer count separately.
    :param auth_grace: seconds that a wait goes on if the platform refuses a key that has worked, or if the
        proxy or the CA bundle can no longer be used. Default: 600. In a deferred wait, the worker and the
        triggerer count separately.
    :param asset: an ``Asset`` or an ``AssetAlias`` to update when this task succeeds. If the task deploys to
        a service or checks one, the alias gets the asset of the service. Otherwise the alias gets the asset
        of the model version. Default: only ``outlets`` are updated.
    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``
        (templated).
    :raises ValueError: if an argument is invalid, for example empty or the text ``"None"``. Literal values
        are checked when the DAG file is parsed, templated values when the task starts.
    :raises QianfanGateError: if the platform has no such service or model version; or if the model version
        failed; or if the service has the model version, but failed or was stopped. Final.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer; if
        another update is in progress; or if nobody knows whether the update was sent. Airflow retries the
        task as its ``retries`` say.
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
        asset: Asset | AssetAlias | None = None,
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
            asset=asset,
            qianfan_conn_id=qianfan_conn_id,
            **kwargs,
        )
        self.service_id = service_id
        self.model_id = model_id
        self.model_set_id = model_set_id
        self._check_literals()

    def execute(self, context: Context) -> Any:
        """Ask for the update. If ``wait_for_completion`` is set, wait for it."""
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
        self._lineage = Lineage(model_id, service_id=service_id)
        if not self.wait_for_completion:
            return model_id
        return self._wait(context, service_id, model_id)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Resume after a deferral, as the sensor does. Send no update."""
        service_id, model_id = _waited_for(event) or (
            check_text("service_id", self.service_id),
            self._checked_model_id(self.model_id),
        )
        return self._sensor(service_id, model_id).execute_complete(context, event)


class QianfanCreateServiceOperator(_DeployingOperator):
    """
    Create a service that serves a model version, once.

    Platform page: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

    The service runs on compute units that the account already owns (``deploymentConfig``). The other form of
    the action, with ``resourceConfig`` and ``billing``, buys resources. The operator rejects that form.

    The platform has no idempotency keys. So the operator appends a mark to the description: ``[airflow:<16
    hex digits>]``. The mark is made from the DAG ID, the run ID, the task ID, the map index and ``nonce``. It
    is the same in every try, and after a clear.

    Before it creates a service, the operator looks for one with this mark and name. If there is one, the
    operator adopts it. If the answer to a request was lost, or if an earlier try may have sent a request, the
    operator looks for the service until ``settle`` is over. So there is one service, if the platform lists a
    new service within ``settle``. Before each request, the operator looks again and, on Airflow 3.3 and
    newer, leaves a note for the next try. The request then leaves within seconds or not at all, and expires
    within ``settle``.

    The description and the mark together may have 500 characters.

    With ``wait_for_completion`` the operator then waits until the service serves the model version, and
    pushes and raises what :class:`.QianfanServiceSensor` does. ``asset`` and
    ``deferrable=True`` need ``wait_for_completion``.

    XComs: ``service_id`` is pushed as soon as it is known, and is also the ``return_value``. With
    ``wait_for_completion``, ``return_value`` and ``modelId`` are the model version, and ``service`` is the
    service as the platform described it.

    :param name: name of the new service, 2 to 20 characters (templated).
    :param url_suffix: the end of the service's URL, 2 to 20 of the characters a-z, 0-9, _ and -. The first
        and the last are letters or digits (templated).
    :param model_id: the model version to serve, ``amv-…`` (templated).
    :param deployment_config: the platform's ``deploymentConfig``. ``deploymentComputeUnitList`` names the
        compute units. Other keys are passed on unchanged (templated).
    :param model_set_id: the model set that the model version belongs to, ``am-…``. Default: the operator asks
        the platform, and the model version has to be ``Ready`` (templated).
    :param description: free text; the mark is appended to it (templated).
    :param protocol_version: 1 or 2. Default: the platform's own, which is 1.
    :param nonce: text that goes into the mark. If you change it and clear this Airflow task, the task creates
        anew. If several Airflows run the same DAG with the same account, give each its own. It must not
        change from try to try (templated).
    :param if_exists: how to treat a task or service that an earlier try has created: ``"adopt"`` (default)
        continues with it, ``"fail"`` ends with an error.
    :param settle: seconds that the platform may take to show what was just created or changed. Default: 120.
    :param wait_for_completion: wait until the platform has finished. Default: False; the operator ends as
        soon as the platform has accepted the request.
    :param deferrable: wait in the triggerer instead of in a worker. Default: Airflow's ``[operators]
        default_deferrable``.
    :param poke_interval: seconds between two looks. Default: 60. In a deferred wait, at least 1.
    :param timeout: seconds that one try waits. In a deferred wait, ``execution_timeout`` ends the try, too,
        if it is shorter. Default: Airflow's ``[sensors] default_timeout`` (7 days).
    :param max_unhealthy: seconds that a wait goes on without a healthy answer from the platform. Default:
        3600. In a deferred wait, the worker and the triggerer count separately.
    :param auth_grace: seconds that a wait goes on if the platform refuses a key that has worked, or if the
        proxy or the CA bundle can no longer be used. Default: 600. In a deferred wait, the worker and the
        triggerer count separately.
    :param asset: an ``Asset`` or an ``AssetAlias`` to update when this task succeeds. If the task deploys to
        a service or checks one, the alias gets the asset of the service. Otherwise the alias gets the asset
        of the model version. Default: only ``outlets`` are updated.
    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``
        (templated).
    :raises ValueError: if an argument is invalid, for example empty or the text ``"None"``. Literal values
        are checked when the DAG file is parsed, templated values when the task starts.
    :raises QianfanResourceExistsError: if ``if_exists="fail"`` and an earlier try has created the service.
        Final.
    :raises QianfanResourceAmbiguousError: if several services carry the mark. Final.
    :raises QianfanGateError: if there is no such model version, or the model version failed. Final.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer; or if
        nobody knows whether the service was created. Airflow retries the task as its ``retries`` say.
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
        asset: Asset | AssetAlias | None = None,
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
            asset=asset,
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
        """Create the service, or adopt it. Wait for it if ``wait_for_completion`` is set."""
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
        journal = Journal(task_store(context), "qianfan_service", wanted.identity, ti.try_number)
        service_id = self._carry_out(
            lambda exchange: create_once(exchange, wanted, self.if_exists, journal, self._ports())
        )
        push(context, "service_id", service_id)
        self.log.info("The service is %s.", clean(service_id, 80))
        self._lineage = Lineage(model_id, service_id=service_id)
        if not self.wait_for_completion:
            return service_id
        return self._wait(context, service_id, model_id)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Resume after a deferral, as the sensor does. Create nothing."""
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
