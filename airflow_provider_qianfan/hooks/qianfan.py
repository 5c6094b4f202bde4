"""From an Airflow connection to answers of the Qianfan platform."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_qianfan._compat import BaseHook, form_field, mask_secret
from airflow_provider_qianfan.api import model_compression, service
from airflow_provider_qianfan.api.errors import (
    MODEL_PATH,
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import DEFAULT_ENDPOINT, Exchange, RetryPolicy, Steps, T
from airflow_provider_qianfan.api.model_compression import ModelCompTask
from airflow_provider_qianfan.api.paging import Scan
from airflow_provider_qianfan.api.text import clean, duration
from airflow_provider_qianfan.exceptions import for_airflow
from airflow_provider_qianfan.gate.errors import QianfanGateError
from airflow_provider_qianfan.hooks._settings import Settings, refused_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import requests
    from airflow.sdk import Connection

    from airflow_provider_qianfan.hooks._driver import Driver

LONGEST_TEST = 8.0
"""Seconds; somebody sits before the form and waits."""

_WARNED: set[tuple[str, str]] = set()
"""What this process has warned of: connections, and what is in them in vain."""


class QianfanHook(BaseHook):
    """
    Talk to the Baidu AI Cloud Qianfan platform: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/um4uzml11.

    Every request is signed with the connection's Access Key (BCE auth v1) immediately before it is sent. What
    may pass is tried again as ``retry`` says; actions that change something are tried again only if they
    certainly did not arrive. The connection is read once per hook. ``with QianfanHook() as hook:`` closes it.

    :param qianfan_conn_id: a connection of type ``qianfan``.
    :param retry: how often and how patiently a call is tried again. Default: 4 tries, pauses of up to 1, 2
        and 4 s, ``Retry-After`` obeyed up to 300 s.
    """

    conn_name_attr = "qianfan_conn_id"
    default_conn_name = "qianfan_default"
    conn_type = "qianfan"
    hook_name = "Baidu AI Cloud Qianfan"

    def __init__(self, qianfan_conn_id: str = default_conn_name, *, retry: RetryPolicy | None = None) -> None:
        super().__init__()
        self.qianfan_conn_id = qianfan_conn_id
        self._retry = retry or RetryPolicy()
        self._settings: Settings | None = None
        self._exchange: Exchange | None = None
        self._driver: Driver | None = None
        self._session: requests.Session | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Be pickled without what was read from the connection: it is read again where it is needed."""
        return {**self.__dict__, "_settings": None, "_exchange": None, "_driver": None, "_session": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- connection --------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """
        What the connection says.

        :raises QianfanConfigurationError: if it is incomplete, naming everything that is missing or wrong.
        """
        if self._settings is None:
            self._settings = Settings.read(*self._read_connection())
            for secret in self._settings.secrets:
                mask_secret(secret)
            told = (self.qianfan_conn_id, self._settings.warning)
            if self._settings.unknown and told not in _WARNED:  # a sensor has a hook for each look
                _WARNED.add(told)
                self.log.warning("Connection %r: %s", *told)
        return self._settings

    def _read_connection(self) -> tuple[Connection, dict[str, Any]]:
        connection = self.get_connection(self.qianfan_conn_id)
        return connection, connection.extra_dejson

    @property
    def exchange(self) -> Exchange:
        """The rules of talking to this connection's endpoint."""
        if self._exchange is None:
            self._exchange = Exchange(self.settings.endpoint, self.settings.credentials, retry=self._retry)
        return self._exchange

    def get_conn(self) -> requests.Session:
        """
        Return a session that signs each request, for actions that this hook does not know.

        Urls may be paths: ``post("/v2/model", params={"Action": …}, json={…})``. It verifies TLS, does
        not follow redirects, and does not try again.
        """
        from airflow_provider_qianfan.hooks._session import SigningSession  # loads requests

        if self._session is None:
            self._session = SigningSession(self.settings)
        return self._session

    def close(self) -> None:
        """Close all connections to the platform. The hook can still be used."""
        if self._driver is not None:
            self._driver.adapter.close()
            self._driver = None
        if self._session is not None:
            self._session.close()
            self._session = None

    def test_connection(self) -> tuple[bool, str]:
        """Ask once for one model compression task; tell within seconds whether that worked, and the route."""
        from airflow_provider_qianfan.hooks._driver import Driver  # loads requests

        way = ""
        try:
            # Half of it for each of the two parts of a request: reaching the platform, and its answer.
            settings = replace(self.settings, timeout=min(self.settings.timeout, LONGEST_TEST / 2))
            probe = Exchange(settings.endpoint, settings.credentials, retry=RetryPolicy(tries=1))
            with Driver(settings) as driver:
                way = f" Route: {driver.adapter.route}. {settings.warning}".rstrip()
                driver.run(probe.call(MODEL_PATH, model_compression.LIST, {"maxKeys": 1}))
        except (QianfanAPIError, QianfanConfigurationError) as error:
            return False, f"{str(error).rstrip('.')}.{way}"
        except QianfanError as error:
            told = "did not answer as the platform does"
            if isinstance(error, QianfanTransientError) and not error.sent:
                told = "could not be reached"
            return False, (
                f"{self.settings.endpoint.url} {told}. {str(error).rstrip('.')}. Check the host (default"
                f" {DEFAULT_ENDPOINT}) and the proxy.{way}"
            )
        told = f"{settings.endpoint.url} accepts the key, and it may read model compression tasks.{way}"
        ahead = probe.server_ahead.total_seconds()
        if ahead:
            late = "behind" if ahead > 0 else "ahead of"
            unit = 60 if abs(ahead) >= 60 else 1  # the server tells whole seconds, and some time ago
            told += (
                f" But the clock of this machine is {duration(round(abs(ahead) / unit) * unit)} {late} the"
                " platform's: correct it."
            )
        return True, told

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Describe the standard fields of the connection's form to Airflow before 3.2."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Describe the other fields of the connection's form to Airflow before 3.2."""
        return {
            name: form_field(
                described["label"],
                described["description"],
                secret=described["schema"].get("format") == "password",
            )
            for name, described in _connection_type()["conn-fields"].items()
        }

    # -- calls -------------------------------------------------------------------------------------------

    def run(self, steps: Steps[T]) -> T:
        """Carry out the steps of an exchange."""
        from airflow_provider_qianfan.hooks._driver import Driver  # loads requests

        if self._driver is None:
            self._driver = Driver(self.settings)
        with self._named():
            return self._driver.run(steps)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the connection in an error of the key. Turn a final error into the one that Airflow knows."""
        try:
            yield
        except QianfanAuthError as error:
            raise refused_key(error, self.qianfan_conn_id) from None
        except QianfanGateError as verdict:
            shown = None if verdict.__suppress_context__ else verdict.__context__
            raise for_airflow(verdict) from verdict.__cause__ or shown

    def call(
        self,
        path: str,
        action: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeatable: bool | None = None,
    ) -> dict[str, Any]:
        """
        Call any action of the platform.

        :param path: such as ``/v2/model`` or ``/v2/service``.
        :param action: such as ``DescribeModel``.
        :param body: the JSON body.
        :param repeatable: whether to try again although the platform may have carried the request out.
            Default: only for ``Describe…`` actions.
        :returns: the whole answer; what is asked for is under ``result``.
        :raises QianfanError: if no try succeeded.
        """
        return self.run(self.exchange.call(path, action, body, repeatable=repeatable))

    def iter_rows(
        self, path: str, action: str, rows_key: str, body: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """
        Iterate over the rows of any list action, following its pages as they are needed.

        :param rows_key: the key of the rows in ``result``, such as ``modelCompTaskList``.
        :param body: filters; ``maxKeys`` is 100 unless given.
        :returns: each row with an ``id`` once, in the platform's order, which is not documented.
        :raises QianfanProtocolError: if the list does not end, or the answer has another list in its place.
        """
        yield from self._unseen(Scan(self.exchange, path, action, rows_key, body))

    def iter_model_comp_tasks(self, source_model_id: str | None = None) -> Iterator[ModelCompTask]:
        """
        Iterate over model compression tasks, following the pages as they are needed.

        :param source_model_id: only those of this model version (``amv-…``), checked here as well.
        :returns: each task once, in the platform's order, which is not documented.
        """
        for row in self._unseen(model_compression.scan_tasks(self.exchange, source_model_id)):
            task = ModelCompTask.parse(row)
            if source_model_id in (None, task.source_model_id):
                yield task

    def _unseen(self, scan: Scan) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        while not scan.finished:
            for row in self.run(scan.next_page()):
                row_id = row.get("id")
                if not isinstance(row_id, str):
                    yield row
                elif row_id not in seen:
                    seen.add(row_id)
                    yield row

    def list_model_comp_tasks(self, source_model_id: str | None = None) -> list[ModelCompTask]:
        """
        Read the whole list of model compression tasks: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq.

        :param source_model_id: only those of this model version (``amv-…``), checked here as well.
        :returns: each task once, as it was read last.
        """
        reading = self.run(model_compression.read_tasks(self.exchange, source_model_id))
        return [task for task in reading.tasks if source_model_id in (None, task.source_model_id)]

    def get_model_comp_task(self, model_comp_task_id: str) -> ModelCompTask | None:
        """
        Ask for one model compression task: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi.

        :param model_comp_task_id: the task, ``amva-…``.
        :returns: the task; None if the platform answers without one.
        """
        return self.run(
            model_compression.read_task(self.exchange, _required("model_comp_task_id", model_comp_task_id))
        )

    def create_model_comp_task(
        self,
        *,
        name: str,
        source_model_id: str,
        model_set_id: str,
        config: Mapping[str, Any],
        description: str | None = None,
    ) -> str:
        """
        Create a model compression task: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji.

        It is not sent again once it may have arrived: the action has no idempotency key, and a second task
        costs money.

        :param name: the task's name.
        :param source_model_id: the model version to compress, ``amv-…``.
        :param model_set_id: the model that will own the produced version, ``am-…``.
        :param config: such as ``{"strategy": "Quantization", "weight": "INT8-PTQ"}``.
        :param description: free text.
        :returns: the task's id, ``amva-…``.
        :raises QianfanTransientError: also if the answer was lost; look for the task before creating another.
        """
        body = {
            "name": _required("name", name),
            "sourceModelId": _required("source_model_id", source_model_id),
            "modelSetId": _required("model_set_id", model_set_id),
            "config": dict(config),
            **({"description": description} if description is not None else {}),
        }
        return self.run(model_compression.create_task(self.exchange, body))

    def cancel_model_comp_task(self, model_comp_task_id: str) -> None:
        """
        Stop a model compression task: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd.

        :param model_comp_task_id: the task, ``amva-…``. It becomes ``stopping``, then ``stopped``.
        """
        self._change(model_compression.CANCEL, model_comp_task_id)

    def delete_model_comp_task(self, model_comp_task_id: str) -> None:
        """
        Delete a model compression task: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/Slxcndblq.

        What this does to the model it produced is not documented.

        :param model_comp_task_id: the task, ``amva-…``.
        """
        self._change(model_compression.DELETE, model_comp_task_id)

    def _change(self, action: str, model_comp_task_id: str) -> None:
        body = {"modelCompTaskId": _required("model_comp_task_id", model_comp_task_id)}
        self.call(MODEL_PATH, action, body)

    def get_service(self, service_id: str) -> dict[str, Any] | None:
        """
        Ask for one service: https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7.

        :param service_id: the service, ``svco-…``.
        :returns: the platform's own object; None if it answers without one.
        """
        from airflow_provider_qianfan.api.resource import SERVICE, read_resource

        row = self.run(read_resource(self.exchange, SERVICE, _required("service_id", service_id)))
        return None if row is None else dict(row.json)

    def create_service(
        self,
        *,
        name: str,
        url_suffix: str,
        model_set_id: str,
        model_id: str,
        deployment_config: Mapping[str, Any],
        description: str | None = None,
        protocol_version: int | None = None,
    ) -> str:
        """
        Create a service on compute units that the account owns: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

        It is not sent again once it may have arrived: the action has no idempotency key.

        :param name: 2 to 20 characters.
        :param url_suffix: the end of its URL: 2 to 20 of a-z, 0-9, _ and -, and none of the last two at its
            ends.
        :param model_set_id: the model of the version, ``am-…``.
        :param model_id: the model version that it serves, ``amv-…``.
        :param deployment_config: the platform's ``deploymentConfig``.
        :param description: free text, at most 500 characters.
        :param protocol_version: 1 or 2. Default: the platform's, 1.
        :returns: the service's id, ``svco-…``.
        :raises QianfanTransientError: also if the answer was lost; look for the service before creating
            another.
        """
        body = {
            "modelSetId": _required("model_set_id", model_set_id),
            "modelId": _required("model_id", model_id),
            "name": service.check_name(name),
            "urlSuffix": service.check_url_suffix(url_suffix),
            "deploymentConfig": dict(deployment_config),
            **({"description": service.check_description(description)} if description is not None else {}),
            **({"protocolVersion": protocol_version} if protocol_version is not None else {}),
        }
        return self.run(service.create_service(self.exchange, body))

    def modify_service(self, service_id: str, *, model_set_id: str, model_id: str) -> None:
        """
        Have a service updated to another model version: https://cloud.baidu.com/doc/qianfan-api/s/Emwbl485l.

        It is not sent again once it may have arrived. The update takes its time: see :meth:`get_service`.

        :param service_id: the service, ``svco-…``.
        :param model_set_id: the model of the version, ``am-…``.
        :param model_id: the model version that it is to serve, ``amv-…``.
        :raises QianfanError: also if the platform answers that it did not do it.
        """
        _required("service_id", service_id)
        _required("model_set_id", model_set_id)
        _required("model_id", model_id)
        self.run(service.modify_service(self.exchange, service_id, model_set_id, model_id))


def _connection_type() -> dict[str, Any]:
    """Return what Airflow 3.2 and newer draw the connection's form from."""
    from airflow_provider_qianfan.get_provider_info import get_provider_info

    info: Any = get_provider_info()
    (described,) = info["connection-types"]
    return dict(described)


def _required(argument: str, value: str) -> str:
    # The documentation calls some ids optional that cannot be.
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{argument} is empty: {clean(value)!r}")
    return value
