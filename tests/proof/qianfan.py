"""A small Qianfan whose tasks follow a script, and a network that breaks. Imports nothing of the package."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

from tests.proof.oracle import FINISHED, Row

EPOCH = 1_767_225_600
"""Where each world begins: 2026-01-01 00:00:00 UTC, in seconds since the epoch."""

FOREVER = 10**9
EXPIRES = 1800
"""Seconds by which the time in a signature may be wrong."""

FORMATS = ("z", "offset")


@dataclass(frozen=True, slots=True)
class Task:
    """
    A model compression task, from its creation to its deletion. All times are seconds of the world.

    :param steps: from when on it has which status.
    :param model: its ``modelId`` once it has succeeded; None if the platform never names one.
    :param dated: whether the platform says when it was created.
    :param model_after: seconds after its success until the platform names the model.
    :param end_told: whether the platform says when it finished.
    :param late: seconds by which the list is behind with this task, beyond ``list_late``.
    :param model_shown: seconds after the task names the model until the platform has such a model version.
    :param model_lasts: seconds for which the model version is then ``Creating``.
    :param model_ends: its status after that.
    """

    id: str
    source: str
    name: str = ""
    created: int = 0
    steps: tuple[tuple[int, str], ...] = ((0, "creating"),)
    model: str | None = None
    dated: bool = True
    deleted: int = FOREVER
    model_after: int = 0
    end_told: bool = False
    late: int = 0
    model_shown: int = 0
    model_lasts: int = 0
    model_ends: str = "Ready"

    def row(self, now: float) -> Row | None:
        """Return what the platform shows at a time; None if the task is not there."""
        if not self.created <= now < self.deleted:
            return None
        since, status = next(
            (step for step in reversed(self.steps) if step[0] <= now), (self.created, "creating")
        )
        named = status == "succeeded" and now >= since + self.model_after
        return Row(
            self.id,
            self.source,
            status,
            self.name,
            self.created if self.dated else None,
            self.model if named else None,
            since if self.end_told and status in FINISHED else None,
        )

    def changes(self) -> set[int]:
        """Return when anything changes."""
        named = self.named_at
        shown = named + self.model_shown
        models = {named, shown, shown + self.model_lasts}
        return {self.created, self.deleted, *(since for since, _ in self.steps), *models}

    @property
    def named_at(self) -> int:
        """When the platform names the model."""
        succeeded = (since for since, status in self.steps if status == "succeeded")
        return next(succeeded, FOREVER) + self.model_after

    def model_status(self, now: float) -> str:
        """Return the status of the produced model version; empty if it is not there."""
        shown_for = now - self.named_at - self.model_shown
        return "" if shown_for < 0 else "Creating" if shown_for < self.model_lasts else self.model_ends


@dataclass(frozen=True, slots=True)
class World:
    """
    What happens on the platform, and on the way to it.

    :param page: rows of a page.
    :param marker: what a marker names: the ``first`` row of the next page, or the ``last`` row of this page.
    :param end: how a page says whether the list goes on. ``documented``: as the documentation says.
        ``marked``: the last page has a marker, too. ``only marked``: every page claims to be the last.
    :param order: ``oldest``, ``newest`` or ``changed``: the last that changed comes first.
    :param filtered: whether the list heeds ``sourceModelId``.
    :param lacks: what is missing. Empty: nothing. ``models``: the produced models in the list.
        ``models, sources``: these, and the source models in the answer for one task.
    :param not_found: how the question for a task that is not there is answered: ``404``, ``400`` or ``null``.
    :param list_late: seconds by which the list is behind.
    :param detail_late: seconds by which the question for one task is behind.
    :param latency: seconds that an answer takes.
    :param faults: what happens to which request, counted from 1.
    :param refused: from when on the platform refuses the old key, in seconds.
    :param corrected: when somebody puts the new key into the connection.
    :param worker_ahead: seconds by which the clocks of the workers are ahead. If negative, they are behind.
    :param deaths: when the triggerer dies, in tens of seconds. Another one takes over its waits at once.
    """

    tasks: tuple[Task, ...] = ()
    page: int = 100
    marker: str = "first"
    end: str = "documented"
    order: str = "newest"
    filtered: bool = True
    lacks: str = ""
    not_found: str = "404"
    list_late: int = 0
    detail_late: int = 0
    latency: float = 0.1
    faults: tuple[tuple[int, str], ...] = ()
    refused: int = FOREVER
    corrected: int = FOREVER
    worker_ahead: int = 0
    deaths: tuple[int, ...] = ()

    def listed(self, now: float) -> list[Row]:
        """Return what the list shows, in its order."""
        then = now - self.list_late
        shown = [(task, row) for task in self.tasks if (row := task.row(then - task.late)) is not None]
        if self.order == "changed":
            shown.sort(
                key=lambda each: max(at for at in each[0].changes() if at <= then - each[0].late),
                reverse=True,
            )
        else:
            shown.sort(key=lambda each: each[0].created, reverse=self.order == "newest")
        return [replace(row, model=None) if self.lacks else row for _, row in shown]

    def detailed(self, now: float) -> dict[str, Row]:
        """Return what the question for one task shows, by id."""
        rows = (task.row(now - self.detail_late) for task in self.tasks)
        found = {row.id: row for row in rows if row is not None}
        if self.lacks == "models, sources":
            return {task_id: replace(row, source="") for task_id, row in found.items()}
        return found

    def models(self, now: float) -> dict[str, str]:
        """Return the status of each model version that is there."""
        made = ((str(task.model), task.model_status(now)) for task in reversed(self.tasks))
        return {model: status for model, status in made if status}

    def changes(self) -> list[float]:
        """Return when anything changes in what is shown."""
        return sorted(
            {
                at + by
                for task in self.tasks
                for at in task.changes()
                for by in (self.list_late + task.late, self.detail_late)
                if at < FOREVER / 2  # never, and what counts from then, is about FOREVER
            }
        )


READS_AGAIN = (
    "network: no connection",
    "network: connection reset",
    "HTTP: 408",
    "HTTP: 429",
    "HTTP: 429 with Retry-After in seconds",
    "HTTP: 429 with Retry-After as a date",
    "HTTP: 500",
    "HTTP: 502 with an HTML page",
    "answer: an HTML page",
    "answer: half of the JSON",
    "answer: empty",
    "answer: no result",
    "answer: legacy code 18",
    "answer: legacy code 336100",
    "clock: signature expired",
    "answer: a task with two statuses",
)
"""Faults after which the gate goes on. The first word of a fault says where it happens."""

ENDS = (
    "HTTP: 400 InappropriateJSON",
    "answer: legacy code 17",
    "answer: another task",
    "answer: no list of tasks",
    "answer: tasks without an id",
    "answer: no pageInfo",
    "answer: more pages, but no marker",
)
"""Faults after which the gate may end with an error about the platform."""


def _time(seconds: int | None, form: str) -> str | None:
    if seconds is None:
        return None
    zone = UTC if form == "z" else timezone(timedelta(hours=8))
    return datetime.fromtimestamp(EPOCH + seconds, zone).isoformat().replace("+00:00", "Z")


def _json(row: Row) -> dict[str, Any]:
    form = FORMATS[sum(map(ord, row.id)) % 2]
    found = {
        "id": row.id,
        "sourceModelId": row.source,
        "status": row.status,
        "name": row.name,
        "createTime": _time(row.created, form),
        "finishTime": _time(row.finished, form),
        "modelId": row.model,
        "config": {"strategy": "Quantization"},
    }
    return {
        key: value
        for key, value in found.items()
        if value is not None and (key, value) != ("sourceModelId", "")
    }


Reply = tuple[int, dict[str, str], bytes]


def answer(world: World, now: float, action: str, asked: dict[str, Any], signed: datetime) -> Reply:
    """Answer as the platform does when all is well."""
    if abs(signed.timestamp() - EPOCH - now) > EXPIRES:
        return _error(403, "RequestExpired", "Too late.", date=_http_date(now))
    if action in ("DescribeModelCompTask", "DescribeModel"):
        row: Any = world.detailed(now).get(asked.get("modelCompTaskId"))
        if action == "DescribeModel" and (status := world.models(now).get(asked["modelId"])):
            return _ok({"modelId": asked["modelId"], "status": status})
        if row is None and world.not_found == "null":
            return 200, {"content-type": "application/json"}, b'{"requestId": "r", "result": null}'
        if row is None:
            code = "NoSuchKey" if world.not_found == "404" else "InappropriateJSON"
            return _error(int(world.not_found), code, "The task does not exist.")
        return _ok(_json(row))
    rows = world.listed(now)
    if world.filtered and asked.get("sourceModelId"):
        rows = [row for row in rows if row.source == asked["sourceModelId"]]
    size, start = min(world.page, asked["maxKeys"]), 0
    if "marker" in asked:
        places = [place for place, row in enumerate(rows) if row.id == asked["marker"]]
        if not places:
            return _error(400, "InvalidMarker", "The marker is not known.")
        start = places[0] + (world.marker == "last")
    end = start + size
    more = end < len(rows)
    page: dict[str, Any] = {"maxKeys": size, "isTruncated": more and world.end != "only marked"}
    if more or (world.end == "marked" and rows):
        page["nextMarker"] = rows[end if more and world.marker == "first" else min(end, len(rows)) - 1].id
    return _ok({"modelCompTaskList": [_json(row) for row in rows[start:end]], "pageInfo": page})


def spoiled(fault: str, honest: Reply, now: float, action: str) -> Reply | bool:
    """Return what comes instead of an honest answer. If no answer comes: whether the request was sent."""
    status, headers, body = honest
    listing = action == "DescribeModelCompTasks" and status == 200
    legacy = fault.removeprefix("answer: legacy code ")
    replies: dict[str, Reply | bool] = {
        "network: no connection": False,
        "network: connection reset": True,
        "HTTP: 408": _error(408, "InternalError", "Please try again."),
        "HTTP: 429": _error(429, "RateLimited", "Too many requests."),
        "HTTP: 429 with Retry-After in seconds": _error(
            429, "RateLimited", "Too many requests.", **{"retry-after": "40"}
        ),
        "HTTP: 429 with Retry-After as a date": _error(
            429, "RateLimited", "Too many requests.", **{"retry-after": _http_date(now + 40)}
        ),
        "HTTP: 500": _error(500, "InternalError", "Please try again."),
        "HTTP: 502 with an HTML page": (502, {"content-type": "text/html"}, b"<html>502 Bad Gateway</html>"),
        "answer: an HTML page": (200, {"content-type": "text/html"}, b"<html>Please wait</html>"),
        "answer: half of the JSON": (status, headers, body[: len(body) // 2]),
        "answer: empty": (status, headers, b""),
        "answer: no result": (
            200,
            headers,
            b'{"requestId": "r", "result": null}' if listing else b'{"requestId": "r"}',
        ),
        f"answer: legacy code {legacy}": (
            200,
            headers,
            f'{{"error_code": {legacy}, "error_msg": "legacy"}}'.encode(),
        ),
        "clock: signature expired": _error(403, "RequestExpired", "Too late.", date=_http_date(now + 1)),
        "key: refused": _error(403, "InvalidAccessKeyId", "The key is not known."),
        "HTTP: 400 InappropriateJSON": _error(
            400, "InappropriateJSON", "The request is not as it should be."
        ),
    }
    return replies[fault] if fault in replies else _twisted(fault, honest, listing=listing)


def _http_date(now: float) -> str:
    return format_datetime(datetime.fromtimestamp(EPOCH + now, UTC), usegmt=True)


def _twisted(fault: str, honest: Reply, *, listing: bool) -> Reply:
    """Return an answer that contradicts the documentation; the honest one if the fault does not fit it."""
    result = json.loads(honest[2]).get("result")
    if not isinstance(result, dict):
        return honest
    if fault == "answer: another task" and not listing:
        return _ok({**result, "id": "amva-another"})
    if fault == "answer: a task with two statuses" and listing and result["modelCompTaskList"]:
        first = result["modelCompTaskList"][0]
        other = {**first, "status": "running" if first["status"] == "succeeded" else "succeeded"}
        return _ok({**result, "modelCompTaskList": [*result["modelCompTaskList"], other]})
    if fault == "answer: tasks without an id" and listing and result["modelCompTaskList"]:
        return _ok({**result, "modelCompTaskList": [{"status": "succeeded", "modelId": "amv-nobody"}]})
    if fault == "answer: no list of tasks" and listing and result["modelCompTaskList"]:
        return _ok({"tasks": result["modelCompTaskList"], "pageInfo": result["pageInfo"]})
    if fault == "answer: no pageInfo" and listing:
        return _ok({"modelCompTaskList": result["modelCompTaskList"]})
    if fault == "answer: more pages, but no marker" and listing:
        return _ok({**result, "pageInfo": {"isTruncated": True, "nextMarker": None}})
    return honest


def _ok(result: dict[str, Any]) -> Reply:
    return (
        200,
        {"content-type": "application/json"},
        json.dumps({"requestId": "r", "result": result}).encode(),
    )


def _error(status: int, code: str, message: str, **headers: str) -> Reply:
    said = {"requestId": "r", "code": code, "message": message}
    return status, {"content-type": "application/json", **headers}, json.dumps(said).encode()
