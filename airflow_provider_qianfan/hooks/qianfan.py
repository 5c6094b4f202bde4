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
from airflow_provider_qianfan.api.signing import forgotten_locals
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
"""Seconds. Somebody waits in front of the form."""

_WARNED: set[tuple[str, str]] = set()
"""The warnings about unknown fields that this process has given: connection ID and text."""


class QianfanHook(BaseHook):
    """
    Talk to the Baidu AI Cloud Qianfan platform.

    Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/um4uzml11.

    The hook signs every request with the connection's Access Key (BCE auth v1) immediately before it sends
    the request. If a request fails for a reason that may pass, the hook tries again as ``retry`` says. It
    repeats a request that changes something only if the request certainly did not arrive.

    The hook reads the connection once. To close the hook, use ``with QianfanHook() as hook:`` or call
    :meth:`close`.

    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``.
    :param retry: how often and how patiently the hook tries again. Default: 4 tries; pauses of up to 1, 2 and
        4 seconds; ``Retry-After`` is obeyed up to 300 seconds.
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
        """Pickle the hook without the connection's values: the copy reads the connection again."""
        return {**self.__dict__, "_settings": None, "_exchange": None, "_driver": None, "_session": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- connection --------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """
        The settings of the connection.

        :raises QianfanConfigurationError: if settings are missing or wrong. The message names all of them.
        """
        if self._settings is None:
            with forgotten_locals():
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
        """The rules for talking to this connection's endpoint."""
        if self._exchange is None:
            self._exchange = Exchange(self.settings.endpoint, self.settings.credentials, retry=self._retry)
        return self._exchange

    def get_conn(self) -> requests.Session:
        """
        Return a session that signs each request, for actions that this hook does not know.

        A URL may be a path: ``post("/v2/model", params={"Action": …}, json={…})``. The session verifies TLS,
        does not follow redirects, and does not try again.
        """
        from airflow_provider_qianfan.hooks._session import SigningSession  # loads requests

        if self._session is None:
            self._session = SigningSession(self.settings)
        return self._session

    def close(self) -> None:
        """Close all network connections to the platform. You can still use the hook."""
        if self._driver is not None:
            self._driver.wire.close()
            self._driver = None
        if self._session is not None:
            self._session.close()
            self._session = None

    def test_connection(self) -> tuple[bool, str]:
        """
        Test the connection: ask once, within seconds, for one model compression task.

        :returns: whether that worked, and a message that names the route.
        """
        from airflow_provider_qianfan.hooks._driver import Driver  # loads urllib3

        way = ""
        try:
            # A request has two parts, connecting and the answer. Each gets half of the time.
            settings = replace(self.settings, timeout=min(self.settings.timeout, LONGEST_TEST / 2))
            probe = Exchange(settings.endpoint, settings.credentials, retry=RetryPolicy(tries=1))
            with Driver(settings) as driver:
                way = f" Route: {driver.wire.route}. {settings.warning}".rstrip()
                driver.run(probe.call(MODEL_PATH, model_compression.LIST, {"maxKeys": 1}))
        except (QianfanAPIError, QianfanConfigurationError) as error:
            return False, f"{error}{way}"
        except QianfanError as error:
            told = "did not answer as the platform does"
            if isinstance(error, QianfanTransientError) and not error.sent:
                told = "could not be reached"
            return False, (
                f"{self.settings.endpoint.url} {told}. {error} Check the host (default"
                f" {DEFAULT_ENDPOINT}) and the proxy.{way}"
            )
        told = f"{settings.endpoint.url} accepts the key, and it may read model compression tasks.{way}"
        ahead = probe.server_ahead.total_seconds()
        if ahead:
            late = "behind" if ahead > 0 else "ahead of"
            unit = 60 if abs(ahead) >= 60 else 1  # the server's Date has whole seconds, and is a moment old
            told += (
                f" But the clock of this machine is {duration(round(abs(ahead) / unit) * unit)} {late} the"
                " platform's: correct it."
            )
        return True, told

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Describe the standard fields of the connection form to Airflow before 3.2."""
        behaviour = _connection_type()["ui-field-behaviour"]
        return {key.replace("-", "_"): value for key, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Describe the other fields of the connection form to Airflow before 3.2."""
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
        from airflow_provider_qianfan.hooks._driver import Driver  # loads urllib3

        if self._driver is None:
            self._driver = Driver(self.settings)
        with self._named():
            return self._driver.run(steps)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the connection in an error about the key. Make a final error one that Airflow knows."""
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

        :param path: the path of the action, such as ``/v2/model`` or ``/v2/service``.
        :param action: the name of the action, such as ``DescribeModel``.
        :param body: the JSON body. Default: empty.
        :param repeatable: whether the hook may try again after the platform may have carried out the request.
            Default: only for ``Describe…`` actions.
        :returns: the whole answer. The data is under ``result``.
        :raises QianfanError: if no try succeeded.
        """
        return self.run(self.exchange.call(path, action, body, repeatable=repeatable))

    def iter_rows(
        self, path: str, action: str, rows_key: str, body: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """
        Iterate over the rows of any list action. The hook reads each page when it is needed.

        :param path: the path of the action, such as ``/v2/model`` or ``/v2/service``.
        :param action: the name of the action, such as ``DescribeModelCompTasks``.
        :param rows_key: the key of the rows in ``result``, such as ``modelCompTaskList``.
        :param body: filters. ``maxKeys`` is 100 unless you set it.
        :returns: the rows in the platform's order, which is not documented. A row with an ``id`` comes once.
        :raises QianfanProtocolError: if the list does not end, or the answer has no such list.
        :raises QianfanError: if no try succeeded.
        """
        yield from self._unseen(Scan(self.exchange, path, action, rows_key, body))

    def iter_model_comp_tasks(self, source_model_id: str | None = None) -> Iterator[ModelCompTask]:
        """
        Iterate over model compression tasks. The hook reads each page when it is needed.

        Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq. The hook applies the filter
        itself, too: the platform may ignore it.

        :param source_model_id: match only tasks that compress this model version, ``amv-…``.
        :returns: each task once, in the platform's order, which is not documented.
        :raises QianfanError: if no try succeeded.
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
        Read the whole list of model compression tasks.

        Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq. The hook applies the filter
        itself, too: the platform may ignore it.

        :param source_model_id: match only tasks that compress this model version, ``amv-…``.
        :returns: each task once. If a task was read twice, the later reading counts.
        :raises QianfanError: if no try succeeded.
        """
        reading = self.run(model_compression.read_tasks(self.exchange, source_model_id))
        return [task for task in reading.tasks if source_model_id in (None, task.source_model_id)]

    def get_model_comp_task(self, model_comp_task_id: str) -> ModelCompTask | None:
        """
        Ask for one model compression task.

        Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi.

        :param model_comp_task_id: the model compression task, ``amva-…``.
        :returns: the task; None if the platform answers without one.
        :raises ValueError: if a required text is empty.
        :raises QianfanError: if no try succeeded.
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
        Create a model compression task.

        Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji.

        The hook does not repeat a request that may have arrived: the action has no idempotency key, and a
        second task costs money.

        :param name: name of the new task.
        :param source_model_id: the model version to compress, ``amv-…``.
        :param model_set_id: the model set that will own the produced model version, ``am-…``.
        :param config: how to compress, such as ``{"strategy": "Quantization", "weight": "INT8-PTQ"}``.
        :param description: free text. Default: none.
        :returns: the ID of the task, ``amva-…``.
        :raises ValueError: if a required text is empty.
        :raises QianfanTransientError: if no answer came. The request may have arrived: look for the task
            before you create another.
        :raises QianfanError: if the platform refuses the request.
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
        Stop a model compression task. The task becomes ``stopping``, then ``stopped``.

        Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd.

        :param model_comp_task_id: the model compression task, ``amva-…``.
        :raises ValueError: if a required text is empty.
        :raises QianfanError: if no try succeeded.
        """
        self._change(model_compression.CANCEL, model_comp_task_id)

    def delete_model_comp_task(self, model_comp_task_id: str) -> None:
        """
        Delete a model compression task.

        Platform page: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/Slxcndblq. The page does not say what
        happens to the model version that the task produced.

        :param model_comp_task_id: the model compression task, ``amva-…``.
        :raises ValueError: if a required text is empty.
        :raises QianfanError: if no try succeeded.
        """
        self._change(model_compression.DELETE, model_comp_task_id)

    def _change(self, action: str, model_comp_task_id: str) -> None:
        body = {"modelCompTaskId": _required("model_comp_task_id", model_comp_task_id)}
        self.call(MODEL_PATH, action, body)

    def get_service(self, service_id: str) -> dict[str, Any] | None:
        """
        Ask for one service.

        Platform page: https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7.

        :param service_id: the service, ``svco-…``.
        :returns: the service as the platform describes it; None if the platform answers without one.
        :raises ValueError: if a required text is empty.
        :raises QianfanError: if no try succeeded.
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
        Create a service on compute units that the account owns.

        Platform page: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

        The hook does not repeat a request that may have arrived: the action has no idempotency key.

        :param name: name of the new service, 2 to 20 characters.
        :param url_suffix: the end of the service's URL, 2 to 20 of the characters a-z, 0-9, _ and -. The
            first and the last are letters or digits.
        :param model_set_id: the model set that the model version belongs to, ``am-…``.
        :param model_id: the model version to serve, ``amv-…``.
        :param deployment_config: the platform's ``deploymentConfig``. ``deploymentComputeUnitList`` names the
            compute units.
        :param description: free text, at most 500 characters. Default: none.
        :param protocol_version: 1 or 2. Default: the platform's own, which is 1.
        :returns: the ID of the service, ``svco-…``.
        :raises ValueError: if a required text is empty, or ``name``, ``url_suffix`` or ``description`` is not
            allowed.
        :raises QianfanTransientError: if no answer came. The request may have arrived: look for the service
            before you create another.
        :raises QianfanError: if the platform refuses the request.
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
        Ask the platform to update a service to another model version.

        Platform page: https://cloud.baidu.com/doc/qianfan-api/s/Emwbl485l.

        The hook does not repeat a request that may have arrived. The update takes some time: watch it with
        :meth:`get_service`.

        :param service_id: the service, ``svco-…``.
        :param model_set_id: the model set that the model version belongs to, ``am-…``.
        :param model_id: the model version to serve, ``amv-…``.
        :raises ValueError: if a required text is empty.
        :raises QianfanError: if the platform refuses the request, or answers that it did not update the
            service.
        """
        _required("service_id", service_id)
        _required("model_set_id", model_set_id)
        _required("model_id", model_id)
        self.run(service.modify_service(self.exchange, service_id, model_set_id, model_id))


def _connection_type() -> dict[str, Any]:
    """Return what Airflow 3.2 and newer draw the connection form from."""
    from airflow_provider_qianfan.get_provider_info import get_provider_info

    info: Any = get_provider_info()
    (described,) = info["connection-types"]
    return dict(described)


def _required(argument: str, value: str) -> str:
    # The documentation calls some ids optional, but the actions mean nothing without them.
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{argument} is empty: {clean(value)!r}")
    return value
