"""
How a model version is deployed once: a service is updated to it, or a service of it is created.

Neither action has an idempotency key. What tells whether an update was asked for is the service itself; what
tells our new service from all others is a mark in its description.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_qianfan.api.errors import (
    QianfanError,
    QianfanProtocolError,
    QianfanTransientError,
    clean,
    is_transient,
)
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps
from airflow_provider_qianfan.api.service import (
    CREATE,
    MODIFY,
    check_description,
    create_service,
    modify_service,
    scan_services,
)
from airflow_provider_qianfan.exceptions import (
    QianfanResourceAmbiguousError,
    QianfanResourceExistsError,
    QianfanResourceFailedError,
    QianfanResourceNotFoundError,
)
from airflow_provider_qianfan.gate.once import IfExists, Journal, Manner, may_have_arrived, next_look
from airflow_provider_qianfan.gate.resource import (
    MODEL,
    NO_UPDATE,
    SERVICE,
    Kind,
    Row,
    find_resource,
    read_resource,
)
from airflow_provider_qianfan.gate.selection import is_rendered_later
from airflow_provider_qianfan.gate.wording import duration, name_of

UPDATE_LASTS = 3600.0
"""
Seconds after which an update in progress is no longer taken for the one that was asked for.

Which values ``updateStatus`` has is not documented but for ``None``, so that one may mean that it has failed.
"""

CONSOLE = "If there are no retries left, look in the Qianfan console before you clear this task."


# -- an update ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Served:
    """What a service serves: a model version, and the model set of it if the platform names that."""

    model_id: str
    model_set_id: str | None = None


@dataclass(frozen=True, slots=True)
class Swap:
    """
    The update of a service to another model version.

    :param model_set_id: the set of the version; if None, the platform is asked for it.
    :param remember: is told what the service serves before anything is sent.
    """

    service_id: str
    model_id: str
    model_set_id: str | None
    remember: Callable[[Served], None]


def swap_once(exchange: Exchange, wanted: Swap, journal: Journal, manner: Manner) -> Steps[None]:
    """
    Have the service updated, unless it serves the version, or is being updated to it by this task.

    :raises QianfanGateError: for good: there is no such service, it has failed, or its version was not made.
    :raises QianfanError: for now. Whether the update may have been asked for is in the journal.
    """
    row = yield from _read_service(exchange, wanted.service_id)
    sent_at = journal.sent_at(manner.clock())
    if sent_at is not None:
        # An earlier try may have asked for it a moment ago.
        until = min(sent_at, manner.clock()) + manner.settle
        before = journal.entry.get("update_is_ours") is False
        if until > manner.clock() and not _shows(row, wanted, updating_before=before):
            manner.say(
                logging.INFO,
                f"An earlier try may have asked for the update. Looking for it for"
                f" {duration(until - manner.clock())} before it is asked for again.",
            )
            row = yield from _watch(exchange, wanted, until, manner, updating_before=before)
    updating = _updating(row)
    if not updating and row.model_id == wanted.model_id:
        _remember_earlier(row, wanted, journal, manner)
        _check_serving(row, wanted)
        manner.say(logging.INFO, f"Nothing is sent: service {name_of(row)} serves {wanted.model_id} already.")
        return
    recent = sent_at is not None and sent_at > manner.clock() - UPDATE_LASTS
    if updating and recent and journal.entry.get("update_is_ours"):
        _remember_earlier(row, wanted, journal, manner)
        manner.say(
            logging.INFO,
            f"Nothing is sent: an earlier try has asked for the update, and service {name_of(row)} has"
            f" {_update_status(row)}.",
        )
        return
    if updating and (row.model_id == wanted.model_id or not journal.knows):
        raise QianfanTransientError(
            MODIFY,
            f"service {name_of(row)} shows {row.model_id} and {_update_status(row)}, and the platform does"
            " not say to which version it is updated. Nothing was sent; the next try looks again. Set retries"
            " and retry_delay to outlast the update.",
            sent=False,
        )
    yield from _send(exchange, wanted, row, journal, manner)


def _send(exchange: Exchange, wanted: Swap, row: Row, journal: Journal, manner: Manner) -> Steps[None]:
    updating = _updating(row)
    if updating:
        manner.say(
            logging.WARNING,
            f"Service {name_of(row)} has {_update_status(row)} of an update that this task has not asked for."
            f" Asking for {wanted.model_id} all the same; the platform refuses that if it has to.",
        )
    model_set_id = wanted.model_set_id or (yield from _find_model_set(exchange, wanted.model_id))
    previous = Served(str(row.model_id), row.model_set_id)
    wanted.remember(previous)
    journal.write(
        sent_at=manner.clock(),
        previous=[previous.model_id, previous.model_set_id],
        # The status alone would not tell ours from the one that is in progress.
        update_is_ours=not updating,
    )
    try:
        yield from modify_service(exchange, wanted.service_id, model_set_id, wanted.model_id)
    except QianfanError as error:
        if not may_have_arrived(error):
            journal.forget()
            raise
        yield from _find_update(exchange, wanted, updating, error, manner)
    journal.write(update_is_ours=True)
    manner.say(
        logging.INFO,
        f"Service {name_of(row)}, which served {previous.model_id}, is being updated to {wanted.model_id}.",
    )


def _find_update(
    exchange: Exchange, wanted: Swap, updating_before: bool, lost: QianfanError, manner: Manner
) -> Steps[None]:
    manner.say(
        logging.WARNING,
        f"{lost} Looking for {duration(manner.settle)} whether service {wanted.service_id} is being updated.",
    )
    try:
        row = yield from _watch(
            exchange,
            wanted,
            manner.clock() + manner.settle,
            manner,
            updating_before=updating_before,
        )
    except QianfanError as error:
        raise _update_not_known(wanted, f"Nor could it be looked for: {error}") from lost
    if not _shows(row, wanted, updating_before=updating_before):
        told = f"For {duration(manner.settle)} the service has shown {row.model_id} and no update."
        if updating_before:
            told = "The update that was in progress before hides it."
        raise _update_not_known(wanted, told) from lost


def _update_not_known(wanted: Swap, told: str) -> QianfanTransientError:
    return QianfanTransientError(
        MODIFY,
        f"it is not known whether service {wanted.service_id} is to be updated to {wanted.model_id}, as the"
        f" answer was lost. {told} The next try looks again, and asks for the update only if there is none."
        f" {CONSOLE}",
    )


def _watch(
    exchange: Exchange, wanted: Swap, until: float, manner: Manner, *, updating_before: bool
) -> Steps[Row]:
    """Look until the service shows the update, or until then, in seconds since the epoch; at least once."""
    while True:
        began = manner.clock()
        try:
            row = yield from _read_service(exchange, wanted.service_id)
        except QianfanError as error:
            if began >= until or not is_transient(error):
                raise
        else:
            if began >= until or _shows(row, wanted, updating_before=updating_before):
                return row
        yield Sleep(next_look(until, manner.clock()))


def _shows(row: Row, wanted: Swap, *, updating_before: bool) -> bool:
    return row.model_id == wanted.model_id or (_updating(row) and not updating_before)


def _updating(row: Row) -> bool:
    """Tell whether an update is in progress, as far as the platform says."""
    return row.json.get("updateStatus") not in NO_UPDATE


def _update_status(row: Row) -> str:
    return f"updateStatus {clean(row.json.get('updateStatus'), 40)}"


def _remember_earlier(row: Row, wanted: Swap, journal: Journal, manner: Manner) -> None:
    """Tell what the service served before this task, if that is known: the present may be our own doing."""
    kept = journal.entry.get("previous")
    if isinstance(kept, list) and len(kept) == 2:
        wanted.remember(Served(*kept))
    elif journal.knows:
        wanted.remember(Served(str(row.model_id), row.model_set_id))
    else:
        manner.say(
            logging.WARNING,
            "It is not known what the service served before this task: an earlier try may have changed it,"
            " and this Airflow keeps no XComs over tries. No previous_model_id is pushed.",
        )


def _check_serving(row: Row, wanted: Swap) -> None:
    status = row.json.get(SERVICE.status_key)
    if status in SERVICE.failed:
        raise QianfanResourceFailedError(
            f"Service {name_of(row)} has the model version {wanted.model_id}, and is {status}. Nothing was"
            " sent: whether another update to the same version would start it is not documented. Look at it"
            " in the Qianfan console."
        )


def _read_service(exchange: Exchange, service_id: str) -> Steps[Row]:
    row = yield from _read(exchange, SERVICE, service_id)
    if row.model_id is None:
        raise QianfanProtocolError(
            f"{SERVICE.action}: the answer does not say which model version service {clean(service_id, 80)}"
            " serves. Nothing more was sent."
        )
    return row


def _read(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row]:
    row = yield from read_resource(exchange, kind, resource_id)
    if row is None:
        raise QianfanResourceNotFoundError(
            f"There is no {kind.noun} {clean(resource_id, 80)}. Check the id, and that the connection's key"
            " belongs to the account that owns it."
        )
    return row


def _find_model_set(exchange: Exchange, model_id: str) -> Steps[str]:
    """
    Ask for the model set of a model version.

    :raises QianfanResourceFailedError: if the version was not made.
    :raises QianfanTransientError: if it is still being made.
    """
    row = yield from _read(exchange, MODEL, model_id)
    status, model_set_id = row.json.get(MODEL.status_key), row.model_set_id
    if status in MODEL.failed:
        raise QianfanResourceFailedError(
            f"Model version {name_of(row)} has the status {status}: it was not made. Nothing was sent. Pass"
            " another model_id."
        )
    if status in MODEL.pending:
        raise QianfanTransientError(
            MODEL.action,
            f"model version {name_of(row)} has the status {status}. Nothing was sent. Wait for it with"
            " QianfanModelSensor, or the gate's wait_for_model_ready.",
            sent=False,
        )
    if model_set_id is None:
        raise QianfanProtocolError(
            f"{MODEL.action}: the answer names no model set of {clean(model_id, 80)}. Nothing was sent. Pass"
            " model_set_id."
        )
    return model_set_id


# -- a new service -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewService:
    """
    The service to create: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

    :param model_set_id: the set of the version; if None, the platform is asked for it.
    :param deployment_config: which of the account's own compute units are to run it.
    :param mark: what :func:`.fingerprint` made.
    """

    name: str
    url_suffix: str
    model_id: str
    model_set_id: str | None
    deployment_config: Mapping[str, Any]
    mark: str
    description: str | None = None
    protocol_version: int | None = None

    @property
    def marked(self) -> str:
        """
        The description with the mark.

        :raises ValueError: if it is too long.
        """
        return check_description(f"{self.description} {self.mark}" if self.description else self.mark)

    def body(self, model_set_id: str) -> dict[str, Any]:
        """Return the body of the request."""
        body = {
            "modelSetId": model_set_id,
            "modelId": self.model_id,
            "name": self.name,
            "description": self.marked,
            "urlSuffix": self.url_suffix,
            "deploymentConfig": dict(self.deployment_config),
        }
        return body if self.protocol_version is None else {**body, "protocolVersion": self.protocol_version}


def create_service_once(
    exchange: Exchange, wanted: NewService, if_exists: IfExists, journal: Journal, manner: Manner
) -> Steps[str]:
    """
    Create the service, unless it is there; return its id.

    :raises QianfanGateError: for good: it is not clear which service is ours, or its version was not made.
    :raises QianfanError: for now. Whether a service may have been created is in the journal.
    """
    found = yield from _find_earlier(exchange, wanted, journal, manner)
    if found is not None:
        return _adopt(found, wanted, if_exists, manner)
    model_set_id = wanted.model_set_id or (yield from _find_model_set(exchange, wanted.model_id))
    body = wanted.body(model_set_id)
    sent_at = manner.clock()
    journal.write(sent_at=sent_at, id=None)
    try:
        return (yield from create_service(exchange, body))
    except QianfanError as error:
        if not may_have_arrived(error):
            journal.forget()
            raise
        lost = error
    manner.say(
        logging.WARNING,
        f"{lost} Looking for {duration(manner.settle)} for the service that it may have created.",
    )
    try:
        found = yield from find_service(exchange, wanted, sent_at + manner.settle, manner.clock)
    except QianfanError as error:
        raise _creation_not_known(wanted, f"Nor could it be looked for: {error}") from lost
    if found is None:
        told = f"For {duration(manner.settle)} no service with the mark {wanted.mark} has appeared."
        raise _creation_not_known(wanted, told) from lost
    manner.say(logging.INFO, f"The answer was lost, but {name_of(found)} was created.")
    return found.id


def _creation_not_known(wanted: NewService, told: str) -> QianfanTransientError:
    return QianfanTransientError(
        CREATE,
        f"it is not known whether {wanted.name!r} was created, as the answer was lost. {told} The next try"
        f" looks again, and creates only if there is none. {CONSOLE}",
    )


def _find_earlier(
    exchange: Exchange, wanted: NewService, journal: Journal, manner: Manner
) -> Steps[Row | None]:
    known = journal.entry.get("id")
    if isinstance(known, str):
        # The list may lag behind.
        row = yield from find_resource(exchange, SERVICE, known)
        if isinstance(row, Row):
            return row
        manner.say(logging.WARNING, f"An earlier try created {known}, which is no longer there.")
    now = manner.clock()
    sent_at, until = journal.sent_at(now), now
    if sent_at is not None:
        until = max(now, min(sent_at, now) + manner.settle)
        if until > now:
            manner.say(
                logging.INFO,
                f"An earlier try may have created the service. Looking for it for {duration(until - now)}"
                " before another is created.",
            )
    return (yield from find_service(exchange, wanted, until, manner.clock))


def find_service(
    exchange: Exchange, wanted: NewService, until: float, clock: Callable[[], float]
) -> Steps[Row | None]:
    """
    Look for the service until then, in seconds since the epoch; at least once.

    :raises QianfanResourceAmbiguousError: if there are several.
    :raises QianfanError: if the platform gave no complete answer in the end.
    """
    read_twice = False
    while True:
        began, pages = clock(), 0
        try:
            ours, pages = yield from _read_ours(exchange, wanted)
        except QianfanError as error:
            if began >= until or not is_transient(error):
                raise
        else:
            if len(ours) > 1:
                raise QianfanResourceAmbiguousError(
                    f"{len(ours)} services carry this task's mark {wanted.mark}:"
                    f" {'; '.join(map(name_of, ours[:10]))}. Nothing was created. Remove those that are not"
                    " wanted, then clear this task."
                )
            if ours:
                return ours[0]
        if pages and began >= until:
            # Pages are no snapshot: the service may have moved to one that had been read.
            if pages == 1 or read_twice:
                return None
            read_twice = True
        else:
            yield Sleep(next_look(until, clock()))


def _read_ours(exchange: Exchange, wanted: NewService) -> Steps[tuple[list[Row], int]]:
    """Read the services with our mark, and tell how many pages the list has."""
    scan, named = scan_services(exchange, wanted.name), dict[str, Row]()
    while not scan.finished:
        restarts = scan.restarts
        rows = yield from scan.next_page()
        if scan.restarts != restarts:
            named.clear()
        for json in rows:
            service_id = json.get(SERVICE.id_key)
            # The filter finds the name within others, too.
            if isinstance(service_id, str) and service_id and json.get("name") in (None, wanted.name):
                named[service_id] = Row(service_id, json)
    ours = []
    for row in named.values():
        told = row.json.get("description")
        if not told:
            # Whether a row of the list has it is not documented.
            detail = yield from find_resource(exchange, SERVICE, row.id)
            told = detail.json.get("description") if isinstance(detail, Row) else None
        if wanted.mark in str(told):
            ours.append(row)
    return ours, scan.pages


def _adopt(found: Row, wanted: NewService, if_exists: IfExists, manner: Manner) -> str:
    again = (
        "To create another one, trigger another run, or change nonce (and the name's or the URL's parts that"
        " have to differ) and clear this task."
    )
    if if_exists == "fail":
        raise QianfanResourceExistsError(
            f"Service {name_of(found)} was created by an earlier try of this task, and if_exists='fail'."
            f" {again}"
        )
    status = clean(found.json.get(SERVICE.status_key) or "in an unknown state", 40)
    manner.say(
        logging.INFO,
        f"Nothing is created: an earlier try has created service {name_of(found)}, which is {status}.",
    )
    if found.model_id not in (None, wanted.model_id):
        manner.say(
            logging.WARNING,
            f"Service {found.id} serves {found.model_id} rather than {wanted.model_id}: it has been updated"
            f" since. {again}",
        )
    return found.id


UNITS = "deploymentComputeUnitList"
_EXAMPLE = f"{{'replicasCount': 1, '{UNITS}': [{{'instanceId': 'unit-…', 'deploymentReplicasCount': 1}}]}}"
PAYING = (
    "buys resources. That costs money, and is left to the Qianfan console; here, a service runs on compute"
    " units that the account owns."
)


def check_deployment_config(config: object) -> None:
    """
    Check the form of a ``deploymentConfig``, as far as it is known before templates are rendered.

    :raises ValueError: if it cannot be meant, or would buy resources.
    """
    if is_rendered_later(config):
        return
    if not isinstance(config, Mapping):
        raise ValueError(f"deployment_config={clean(repr(config))} is not a dict, such as {_EXAMPLE}.")
    for key in ("resourceConfig", "billing"):
        if key in config:
            raise ValueError(f"deployment_config: {key} {PAYING}")
    units = config.get(UNITS)
    if not is_rendered_later(units) and (not isinstance(units, list | tuple) or not units):
        raise ValueError(
            f"deployment_config={clean(repr(config))}: {UNITS} names no compute unit. Write it as {_EXAMPLE}."
        )
