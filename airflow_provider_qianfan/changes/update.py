"""
How to update a service to another model version, once.

The action has no idempotency key. The service itself shows whether an update was requested.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_qianfan.api.errors import (
    QianfanError,
    QianfanProtocolError,
    QianfanTransientError,
    is_transient,
)
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps
from airflow_provider_qianfan.api.json_values import check_json
from airflow_provider_qianfan.api.resource import NO_UPDATE, SERVICE, Row
from airflow_provider_qianfan.api.service import MODIFY, modify_service
from airflow_provider_qianfan.api.text import clean, duration
from airflow_provider_qianfan.changes.journal import (
    CONSOLE,
    Journal,
    LastLook,
    Ports,
    may_have_arrived,
    out_of_date,
    pause_until_next_look,
)
from airflow_provider_qianfan.changes.once import pause_before_next
from airflow_provider_qianfan.changes.readiness import find_model_set, read_existing
from airflow_provider_qianfan.changes.standstill import Standstill
from airflow_provider_qianfan.gate.errors import QianfanResourceFailedError, QianfanResourceNotFoundError
from airflow_provider_qianfan.gate.resource import UPDATE_LASTS
from airflow_provider_qianfan.gate.wording import name_of


@dataclass(frozen=True, slots=True)
class Served:
    """The model version that a service serves, and its model set if the platform names that."""

    model_id: str
    model_set_id: str | None = None


@dataclass(frozen=True, slots=True)
class Swap:
    """
    The update of a service to another model version.

    :param model_set_id: the model set of the version. None: the platform is asked for it.
    :param remember: called before anything is sent, with what the service serves.
    """

    service_id: str
    model_id: str
    model_set_id: str | None
    remember: Callable[[Served], None]


def swap_once(exchange: Exchange, wanted: Swap, journal: Journal, ports: Ports) -> Steps[None]:
    """
    Have the service updated, unless it already serves the version or this task is already updating it.

    Before each request, this function looks at the service, and notes that the request may have been sent.

    :raises QianfanGateError: final: the platform has no such service, the service failed, or the version
        failed.
    :raises QianfanError: not final. The journal knows whether the update may have been requested.
    """
    standstill = Standstill(ports.clock)
    update = _Update(exchange, wanted, journal, ports, standstill)
    yield from standstill.watch(update.steps())


@dataclass(frozen=True, slots=True)
class _Update:
    """One try to have the service updated."""

    exchange: Exchange
    wanted: Swap
    journal: Journal
    ports: Ports
    standstill: Standstill

    def steps(self) -> Steps[None]:
        """Have the service updated, unless there is nothing to do."""
        kept = _kept_previous(self.journal)
        if kept is not None:
            # Before anything can fail: Airflow has removed the XComs of the try before.
            self.wanted.remember(kept)
        sent_at = self.journal.sent_at(self.standstill.began)
        row, look = yield from self._find_earlier(sent_at)
        model_set_id, attempt = self.wanted.model_set_id, 1
        while not self._is_done(row, sent_at, told=kept is not None or attempt > 1):
            if model_set_id is None:
                model_set_id = yield from find_model_set(self.exchange, self.wanted.model_id)
                if not look.is_fresh(self.ports.clock()):
                    row, look = yield from self._look()
                    continue
            error = yield from self._send(row, look, model_set_id)
            if error is None:
                return
            yield from pause_before_next(self.exchange, error, attempt, self.ports, self.standstill)
            attempt += 1
            row, look = yield from self._look()

    def _look(self) -> Steps[tuple[Row, LastLook]]:
        began = self.ports.clock()
        row = yield from read_existing(self.exchange, SERVICE, self.wanted.service_id)
        if row.model_id is None:
            raise QianfanProtocolError(
                f"{SERVICE.action}: the answer does not say which model version service"
                f" {clean(row.id, 80)} serves. Nothing more was sent."
            )
        return row, LastLook(began, self.ports.clock())

    def _find_earlier(self, sent_at: float | None) -> Steps[tuple[Row, LastLook]]:
        """Look at the service. Keep looking for a while if an earlier try may just have sent the update."""
        row, look = yield from self._look()
        if sent_at is None:
            return row, look
        until = min(sent_at, self.standstill.began) + self.ports.settle
        before = self.journal.entry.get("update_is_ours") is False
        left = until - self.ports.clock()
        if left <= 0 or _shows(row, self.wanted, updating_before=before):
            return row, look
        self.ports.say(
            logging.INFO,
            f"An earlier try may have asked for the update. Looking for it for {duration(left)} before it is"
            " asked for again.",
        )
        return (yield from self._watch(until, updating_before=before))

    def _is_done(self, row: Row, sent_at: float | None, *, told: bool) -> bool:
        """
        Tell whether there is nothing to send.

        :param told: whether ``remember`` knows what the service served before this task.
        :raises QianfanError: if nothing must be sent now.
        """
        updating, wanted, journal = _updating(row), self.wanted, self.journal
        if not updating and row.model_id == wanted.model_id:
            if not told:
                self._remember_present(row)
            _check_serving(row, wanted)
            told_now = f"Nothing is sent: service {name_of(row)} serves {wanted.model_id} already."
            self.ports.say(logging.INFO, told_now)
            return True
        recent = sent_at is not None and sent_at > self.ports.clock() - UPDATE_LASTS
        if updating and recent and journal.entry.get("update_is_ours"):
            self.ports.say(
                logging.INFO,
                f"Nothing is sent: an earlier try has asked for the update, and service {name_of(row)} has"
                f" {_update_status(row)}.",
            )
            return True
        if updating and (row.model_id == wanted.model_id or not journal.knows):
            raise QianfanTransientError(
                MODIFY,
                f"service {name_of(row)} shows {clean(row.model_id, 80)} and {_update_status(row)}, and the"
                " platform does not say to which version it is updated. Nothing was sent; the next try looks"
                " again. Set retries and retry_delay to outlast the update.",
                sent=False,
            )
        return False

    def _remember_present(self, row: Row) -> None:
        """Remember that the service served this version before, unless an earlier try may have updated it."""
        if self.journal.knows and self.journal.away_until(self.standstill) is None:
            self.journal.check_not_replaced()
            self.wanted.remember(Served(str(row.model_id), row.model_set_id))
        else:
            self.ports.say(
                logging.WARNING,
                "It is not known what the service served before this task: an earlier try may have changed"
                " it, and this Airflow keeps no XComs over tries. No previous_model_id is pushed.",
            )

    def _send(self, row: Row, look: LastLook, model_set_id: str) -> Steps[QianfanError | None]:
        """Send the update once. Return the error if nothing was done."""
        wanted, journal, ports = self.wanted, self.journal, self.ports
        if _updating(row):
            self._warn_of_another(row)
        check_json("model_set_id", model_set_id)
        noted, previous = ports.clock(), Served(str(row.model_id), row.model_set_id)
        self._check_not_replaced(noted)
        if not look.is_fresh(noted):
            return out_of_date(MODIFY, look, noted)
        sending = ports.sending(noted)
        journal.write(
            sent_at=sending.send_by,  # it may leave as late as that, and the next try counts from there
            previous=[previous.model_id, previous.model_set_id],
            # The status alone would not distinguish our update from the one in progress.
            update_is_ours=not _updating(row),
        )
        # After the note: a try that has been replaced fails there.
        wanted.remember(previous)
        try:
            yield from modify_service(
                self.exchange, wanted.service_id, model_set_id, wanted.model_id, sending
            )
        except QianfanError as error:
            if not may_have_arrived(error):
                journal.take_back()
                return error
            yield from self._find_lost(error, updating_before=_updating(row))
        journal.write(update_is_ours=True)
        ports.say(
            logging.INFO,
            f"Service {name_of(row)}, which served {clean(previous.model_id, 80)}, is being updated to"
            f" {wanted.model_id}.",
        )
        return None

    def _warn_of_another(self, row: Row) -> None:
        whose = "that this task has not asked for"
        if self.journal.entry.get("update_is_ours"):
            whose = f"that may be the one that this task asked for more than {duration(UPDATE_LASTS)} ago"
        self.ports.say(
            logging.WARNING,
            f"Service {name_of(row)} has {_update_status(row)} of an update {whose}. Asking for"
            f" {self.wanted.model_id} anyway: the platform accepts or refuses this.",
        )

    def _check_not_replaced(self, now: float) -> None:
        """
        Refuse to send after a standstill, if no note would tell of another try meanwhile.

        The service would not tell, either: the update may have been rolled back since.
        """
        away_until = self.journal.away_until(self.standstill)
        if away_until is not None:
            raise QianfanTransientError(
                MODIFY,
                f"this process stood still until {duration(now - away_until)} ago, and this Airflow does not"
                " tell whether another try has taken over. Nothing was sent; the next try looks again.",
                sent=False,
            )

    def _find_lost(self, lost: QianfanError, *, updating_before: bool) -> Steps[None]:
        """
        Look whether the update began although no answer came.

        :raises QianfanTransientError: if the service does not show that.
        """
        wanted, journal, settle = self.wanted, self.journal, self.ports.settle
        journal.write(sent_at=self.ports.clock())  # until now, the request may have taken effect
        until = self.ports.clock() + settle
        self.ports.say(
            logging.WARNING,
            f"The answer was lost. Looking for {duration(settle)} whether service {wanted.service_id} is"
            f" being updated. {lost}",
        )
        try:
            row, _ = yield from self._watch(until, updating_before=updating_before)
        except (QianfanError, QianfanResourceNotFoundError) as error:
            raise _update_not_known(wanted, "The search for it failed, too.", f" {error}") from lost
        if _shows(row, wanted, updating_before=updating_before):
            return
        if not updating_before:
            # An update that shows later is probably somebody else's.
            journal.write(update_is_ours=False)
        told = f"For {duration(settle)} the service has shown {clean(row.model_id, 80)} and no update."
        if _updating(row):
            told = "The update that was in progress before hides it."
        raise _update_not_known(wanted, told) from lost

    def _watch(self, until: float, *, updating_before: bool) -> Steps[tuple[Row, LastLook]]:
        """Look, at least once, until the service shows the update or the time is up."""
        while True:
            began = self.ports.clock()
            try:
                row, look = yield from self._look()
            except QianfanError as error:
                if began >= until or not is_transient(error):
                    raise
            else:
                if began >= until or _shows(row, self.wanted, updating_before=updating_before):
                    return row, look
            yield Sleep(pause_until_next_look(until, self.ports.clock()))


def _update_not_known(wanted: Swap, told: str, why: str = "") -> QianfanTransientError:
    return QianfanTransientError(
        MODIFY,
        f"it is not known whether service {wanted.service_id} is to be updated to {wanted.model_id}, as the"
        f" answer was lost. {told} The next try looks again, and asks for the update only if there is none."
        f" {CONSOLE}{why}",
    )


def _shows(row: Row, wanted: Swap, *, updating_before: bool) -> bool:
    return row.model_id == wanted.model_id or (_updating(row) and not updating_before)


def _updating(row: Row) -> bool:
    """Tell whether an update is in progress, as far as the platform says."""
    return row.json.get("updateStatus") not in NO_UPDATE


def _update_status(row: Row) -> str:
    return f"updateStatus {clean(row.json.get('updateStatus'), 40)}"


def _kept_previous(journal: Journal) -> Served | None:
    kept = journal.entry.get("previous")
    return Served(*kept) if isinstance(kept, list) and len(kept) == 2 else None


def _check_serving(row: Row, wanted: Swap) -> None:
    status = row.json.get(SERVICE.status_key)
    if status in SERVICE.failed:
        raise QianfanResourceFailedError(
            f"Service {name_of(row)} has the model version {wanted.model_id}, and is {status}. Nothing was"
            " sent: whether another update to the same version would start it is not documented. Look at it"
            " in the Qianfan console.",
            resource_id=row.id,
            status=status,
        )
