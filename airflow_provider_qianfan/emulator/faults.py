"""Faults on demand: when a fault is due, and how it changes an answer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_qianfan.emulator.clock import shifted

if TYPE_CHECKING:
    from collections.abc import Mapping

# By path. Those of services: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/klub7dk61
ACTIONS_OF = {
    "/v2/model": (
        "CreateModelCompTask",
        "DescribeModelCompTasks",
        "DescribeModelCompTask",
        "CancelModelCompTask",
        "DeleteModelCompTask",
        "DescribeModel",
    ),
    "/v2/service": (
        "CreateService",
        "ModifyService",
        "DescribeService",
        "DescribeServices",
        "DeactivateService",
    ),
}
ACTIONS = tuple(action for actions in ACTIONS_OF.values() for action in actions)

# The listing actions: the key of their rows, and the key of a row's id.
LISTINGS = {
    "DescribeModelCompTasks": ("modelCompTaskList", "id"),
    "DescribeServices": ("serviceList", "serviceId"),
}

_HUGEST_BODY = 2**30
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*)?")
_ENDLESS_PREFIX = "amva-endless"
JSON = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(slots=True, kw_only=True)
class Fault:
    """
    One fault: which calls it strikes, and what happens to them.

    *Which calls*: all conditions that you give must hold. Without a condition, the fault strikes every call.
    Each fault counts its own calls: 1 is the first call of ``action`` after the fault was added.

    *What happens*: ``latency``, ``skew`` and ``headers`` combine with anything. Give at most one of the other
    keys. ``status`` may also go with ``body``, ``empty_body``, ``not_json`` and ``redirect``.

    A fault that replaces the answer acts before the signature check, as a gateway would. The action is not
    performed unless ``performs`` is true. If several faults replace the answer, the first in the list counts.

    :param action: name of the action, or ``*`` for all actions. Default: ``*``.
    :param calls: the numbers of the calls to strike, from 1.
    :param from_: the first call to strike (``from`` in YAML).
    :param count: how many calls to strike. Default: no end.
    :param after: strike from this world second on, counted from the start of the world.
    :param until: strike before this world second, counted from the start of the world.
    :param always: strike every call. This is the default without a condition; the key only spells it out.
    :param latency: real seconds to wait before the answer. They are real because clients' timeouts are.
    :param skew: seconds by which the server's clock (signature check, ``Date``) is ahead.
    :param performs: whether the action takes effect although the fault replaces its answer.
    :param status: the HTTP status of the answer.
    :param body: the body of the answer: text, or any other value to send as JSON.
    :param headers: more headers of the answer.
    :param rate_limit: answer with HTTP 429. The platform documents neither the body nor the code.
    :param retry_after: seconds in a ``Retry-After`` header of the replaced answer.
    :param retry_after_date: write ``Retry-After`` as an HTTP date of the server's clock instead.
    :param server_error: answer with this 5xx status and an HTML body.
    :param truncated_body: cut the body. ``content_length``: promise more bytes than are sent. ``cut_json``:
        send half of the JSON, with the right length.
    :param empty_body: answer without a body.
    :param not_json: answer with an HTML body. The status is 200 unless ``status`` is given.
    :param legacy_error: answer with HTTP 200, ``{"error_code", "error_msg"}`` and this code, as the V1 API of
        the platform does.
    :param endless_paging: make a list that never ends: ``same_marker``, ``looping_marker`` (two in turn),
        ``missing_marker``, ``fresh_markers`` (the same rows for ever), ``fresh_rows`` (new rows for ever).
    :param redirect: the URL in ``Location``. The status is 302 unless ``status`` is given.
    :param huge_body: bytes of padding in a JSON answer, at most 1 GiB.
    :param null_list: answer a list action with null instead of rows.
    """

    action: str = "*"
    calls: tuple[int, ...] = ()
    from_: int | None = None
    count: int | None = None
    after: float | None = None
    until: float | None = None
    always: bool = False
    latency: float = 0.0
    skew: float = 0.0
    performs: bool = False
    status: int | None = None
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    rate_limit: bool = False
    retry_after: float | None = None
    retry_after_date: bool = False
    server_error: int | None = None
    truncated_body: Literal["content_length", "cut_json"] | None = None
    empty_body: bool = False
    not_json: bool = False
    legacy_error: int | None = None
    endless_paging: (
        Literal["same_marker", "looping_marker", "missing_marker", "fresh_markers", "fresh_rows"] | None
    ) = None
    redirect: str | None = None
    huge_body: int | None = None
    null_list: bool = False
    seen: int = field(default=0, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what could not be meant."""
        if self.action != "*" and self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}; allowed: *, {', '.join(ACTIONS)}")
        limits = (self.from_, self.count, self.after, self.until)
        if self.always and (self.calls or any(limit is not None for limit in limits)):
            raise ValueError("'always' and a condition exclude each other")
        if self.latency < 0:
            raise ValueError("'latency' cannot be negative")
        if self.server_error is not None and not 500 <= self.server_error <= 599:
            raise ValueError(f"'server_error' is a status from 500 to 599, not {self.server_error}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"'status' is from 200 to 599, not {self.status}")
        if self.huge_body is not None and not 0 <= self.huge_body <= _HUGEST_BODY:
            raise ValueError(f"'huge_body' is from 0 to {_HUGEST_BODY}, not {self.huge_body}")
        self._check_effects()
        self._check_headers()

    def _check_effects(self) -> None:
        if len(self.effects) > 1:
            raise ValueError(f"only one of {', '.join(self.effects)} at a time")
        if self.status is not None and self.effects and self.effects[0] not in _TAKES_STATUS:
            raise ValueError(f"'status' does not go with {self.effects[0]!r}")
        if not (self.replaces or self.effects or self.latency or self.skew or self.headers):
            raise ValueError("the fault says when, but not what happens")
        if self.retry_after is not None and not self.replaces:
            raise ValueError("'retry_after' needs an answer to go with: rate_limit, server_error or status")
        if self.performs and not self.replaces:
            raise ValueError("'performs' needs a replaced answer")

    def _check_headers(self) -> None:
        location = {} if self.redirect is None else {"Location": self.redirect}
        for name, value in {**self.headers, **location}.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"{name!r}: {value!r} cannot be sent as a header")
            if name.lower() in ("content-length", "transfer-encoding"):
                raise ValueError(f"{name!r} is the server's to say; for a wrong length: 'truncated_body'")

    @property
    def effects(self) -> tuple[str, ...]:
        """Return the keys that decide what the answer looks like, without ``status``."""
        return tuple(name for name in _REPLACING + _SPOILING if getattr(self, name) not in (None, False))

    @property
    def replaces(self) -> bool:
        """Whether the platform's own answer is replaced."""
        return self.status is not None or any(name in _REPLACING for name in self.effects)

    def due(self, elapsed: float) -> bool:
        """
        Count a call of this fault's action and tell if the fault strikes it.

        :param elapsed: world seconds since the start of the world.
        """
        self.seen += 1
        first = self.from_ or 1
        return (
            (not self.calls or self.seen in self.calls)
            and self.seen >= first
            and (self.count is None or self.seen < first + self.count)
            and (self.after is None or elapsed >= self.after)
            and (self.until is None or elapsed < self.until)
        )


_REPLACING = ("body", "rate_limit", "server_error", "empty_body", "not_json", "legacy_error", "redirect")
_SPOILING = ("truncated_body", "endless_paging", "huge_body", "null_list")
_TAKES_STATUS = ("body", "empty_body", "not_json", "redirect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    An HTTP answer before it is sent.

    :param missing: bytes by which the promised Content-Length exceeds the body.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    missing: int = 0


def replacement(fault: Fault, request_id: str, now: datetime) -> Reply:
    """
    Return the answer of a fault that replaces the platform's.

    :param now: the server's clock, for a ``Retry-After`` date.
    """
    reply = _replacement(fault, request_id)
    extra = dict(fault.headers)
    if fault.retry_after is not None:
        date = format_datetime(shifted(now, fault.retry_after), usegmt=True)
        extra["Retry-After"] = date if fault.retry_after_date else f"{fault.retry_after:g}"
    return replace(reply, headers={**reply.headers, **extra})


def _replacement(fault: Fault, request_id: str) -> Reply:
    status = fault.status or 200
    if fault.rate_limit:
        # Undocumented for the platform API; only the inference API documents a 429, with another body.
        said = {"requestId": request_id, "code": "RateLimited", "message": "Rate limit reached."}
        return json_reply(429, said)
    if fault.server_error is not None:
        return _html_reply(fault.server_error, f"{fault.server_error} Server Error")
    if fault.legacy_error is not None:
        legacy = {"error_code": fault.legacy_error, "error_msg": "legacy error", "log_id": request_id}
        return json_reply(200, legacy)
    if fault.redirect is not None:
        return Reply(status=fault.status or 302, body=b"", headers={"Location": fault.redirect})
    if fault.not_json:
        return _html_reply(status, "Please wait")
    if fault.empty_body or fault.body is None:
        return Reply(status=status, body=b"", headers=JSON)
    if isinstance(fault.body, str):
        return Reply(status=status, body=fault.body.encode("utf-8", "surrogatepass"), headers=JSON)
    return json_reply(status, fault.body)


def _html_reply(status: int, title: str) -> Reply:
    """Return the kind of page a gateway in front of the platform answers with."""
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(status=status, body=page.encode(), headers={"Content-Type": "text/html; charset=utf-8"})


def json_reply(status: int, payload: object) -> Reply:
    """Return an answer with a JSON body."""
    try:
        body = json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate can only be written as an escape
        body = json.dumps(payload).encode()
    return Reply(status=status, body=body, headers=JSON)


def spoil(fault: Fault, reply: Reply) -> Reply:
    """Return the platform's own answer as this fault lets it through."""
    body, half, missing = reply.body, reply.body[: len(reply.body) // 2], 0
    if fault.truncated_body == "cut_json":
        body = half
    elif fault.truncated_body == "content_length":
        body, missing = half, len(body) - len(half)
    elif fault.huge_body is not None:
        body = body[:-1] + b', "padding": "' + b"x" * fault.huge_body + b'"}'
    return replace(reply, body=body, missing=missing, headers={**reply.headers, **fault.headers})


def without_invented_marker(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a listing without a marker that only an endless listing can have given out."""
    if str(body.get("marker")).startswith(_ENDLESS_PREFIX):
        return {key: value for key, value in body.items() if key != "marker"}
    return body


def twist_listing(fault: Fault, action: str, result: dict[str, Any], marker: object) -> dict[str, Any]:
    """
    Return the ``result`` of a listing as an endless or null listing.

    :param fault: one that does either.
    :param action: one of ``LISTINGS``.
    :param marker: the marker of the request, None without one.
    """
    list_key, id_key = LISTINGS[action]
    if fault.null_list:
        return {**result, list_key: None}
    rows = result[list_key]
    page = {key: value for key, value in result["pageInfo"].items() if key != "nextMarker"}
    page.update(isTruncated=True, marker=marker or "")
    fresh = f"{_ENDLESS_PREFIX}{fault.seen:05d}"
    if fault.endless_paging == "same_marker":
        page["nextMarker"] = marker or f"{_ENDLESS_PREFIX}00000"
    elif fault.endless_paging == "looping_marker":
        page["nextMarker"] = f"{_ENDLESS_PREFIX}{fault.seen % 2:05d}"
    elif fault.endless_paging != "missing_marker":
        page["nextMarker"] = fresh
    if fault.endless_paging == "fresh_rows":
        rows = [{**row, id_key: f"{fresh}-{index}"} for index, row in enumerate(rows)]
    return {**result, list_key: rows, "pageInfo": page}
