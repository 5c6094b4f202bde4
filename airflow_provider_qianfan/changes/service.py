"""The service that is created once. The mark in its description shows that a service is ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import QianfanTransientError
from airflow_provider_qianfan.api.resource import SERVICE, Row, find_resource
from airflow_provider_qianfan.api.service import check_description, create_service, scan_services
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.changes.readiness import find_model_set
from airflow_provider_qianfan.gate.errors import QianfanResourceAmbiguousError, QianfanResourceExistsError
from airflow_provider_qianfan.gate.wording import name_of

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Exchange, Sending, Steps
    from airflow_provider_qianfan.changes.journal import Say


@dataclass(frozen=True, slots=True)
class NewService:
    """
    The service to create: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

    :param model_set_id: the model set of the version. None: the platform is asked for it.
    :param deployment_config: the account's own compute units that run the service.
    :param mark: the mark, from :func:`.fingerprint`.
    """

    name: str
    url_suffix: str
    model_id: str
    model_set_id: str | None
    deployment_config: Mapping[str, Any]
    mark: str
    description: str | None = None
    protocol_version: int | None = None

    noun = "service"
    again = (
        "To create another one, trigger another run, or change nonce (and the name's or the URL's parts that"
        " have to differ) and clear this task."
    )
    exists_error = QianfanResourceExistsError
    ambiguous_error = QianfanResourceAmbiguousError

    @property
    def identity(self) -> Mapping[str, str]:
        """What a note has to be about. A service of another name is another one."""
        return {"mark": self.mark, "name": self.name}

    @property
    def marked(self) -> str:
        """The description with the mark."""
        return f"{self.description} {self.mark}" if self.description else self.mark

    def read(self, exchange: Exchange, known_id: str) -> Steps[Row | None]:
        """Ask for the service that an earlier try created; None if it is gone."""
        found = yield from find_resource(exchange, SERVICE, known_id)
        return found if isinstance(found, Row) else None

    def read_ours(self, exchange: Exchange) -> Steps[tuple[list[Row], int]]:
        """Read the services with our mark. Return them and the number of pages of the list."""
        scan, named = scan_services(exchange, self.name), dict[str, Row]()
        while not scan.finished:
            for json in (yield from scan.next_page(named)):
                service_id = json.get(SERVICE.id_key)
                # The filter finds the name within others, too.
                if isinstance(service_id, str) and service_id and json.get("name") in (None, self.name):
                    named[service_id] = Row(service_id, json)
        ours = []
        for row in named.values():
            told = row.json.get("description")
            if not told:
                # Whether a row of the list has it is not documented.
                detail = yield from find_resource(exchange, SERVICE, row.id)
                if not isinstance(detail, Row):
                    # One of the two is behind the other: the service is new, or it is gone.
                    raise QianfanTransientError(
                        SERVICE.action,
                        f"the list shows service {name_of(row)} without a description, but there is no such"
                        " service by its id. So it is not known whether this task created it.",
                    )
                told = detail.json.get("description")
            if self.mark in str(told):
                ours.append(row)
        return ours, scan.pages

    def prepare(self, exchange: Exchange, say: Say) -> Steps[Mapping[str, Any]]:
        """Find the version's model set if none is given. Return the body of the request."""
        model_set_id = self.model_set_id or (yield from find_model_set(exchange, self.model_id))
        body = {
            "modelSetId": model_set_id,
            "modelId": self.model_id,
            "name": self.name,
            "description": check_description(self.marked),
            "urlSuffix": self.url_suffix,
            "deploymentConfig": dict(self.deployment_config),
        }
        return body if self.protocol_version is None else {**body, "protocolVersion": self.protocol_version}

    def create(self, exchange: Exchange, body: Mapping[str, Any], sending: Sending) -> Steps[str]:
        """Create the service, and return its id."""
        return (yield from create_service(exchange, body, sending))

    def known(self, made: Row) -> Mapping[str, str | None]:
        """Return the attributes of an error about the service."""
        status = made.json.get(SERVICE.status_key)
        return {"resource_id": made.id, "status": clean(status, 40) if status else None}

    def describe(self, made: Row) -> str:
        """Write what distinguishes the service from similar ones."""
        status = clean(made.json.get(SERVICE.status_key) or "in an unknown state", 40)
        return f"service {name_of(made)}, which is {status}"

    def surprises(self, made: Row) -> Iterator[str]:
        """Write how the service differs from what was asked for."""
        if made.model_id not in (None, self.model_id):
            yield (
                f"Service {clean(made.id, 80)} serves {clean(made.model_id, 80)} rather than {self.model_id}:"
                " it has been updated since."
            )
