"""Documented answers, with random changes."""

from __future__ import annotations

import gzip
import json
import random
from copy import deepcopy
from typing import Any

from airflow_provider_qianfan.api.exchange import NoResponse, Reply, Response

TASK, SOURCE, MADE, SERVICE = "amva-1", "amv-source", "amv-made", "svco-1"

TASKS = [
    {
        "id": TASK,
        "name": "nightly",
        "description": "",
        "status": "succeeded",
        "sourceModelId": SOURCE,
        "modelId": MADE,
        "config": {"strategy": "Quantization", "config": {"numBits": 8}},
        "createTime": "2026-01-01T00:00:00Z",
        "finishTime": "2026-01-01T01:00:00Z",
    },
    {"id": "amva-0", "status": "failed", "sourceModelId": SOURCE, "createTime": "2025-12-01T00:00:00Z"},
]
PAGE_INFO = {"maxKeys": 100, "isTruncated": False}
DOCUMENTED: dict[str, Any] = {
    "DescribeModelCompTasks": {"modelCompTaskList": TASKS, "pageInfo": PAGE_INFO},
    "DescribeModelCompTask": {**TASKS[0], "failedReason": ""},
    "CreateModelCompTask": TASK,
    "CancelModelCompTask": True,
    "DescribeModel": {
        "modelId": MADE,
        "modelSetId": "am-set",
        "modelName": "nightly",
        "status": "Ready",
        "isSupportModelComp": True,
        "sourceInfo": {"type": "Acceleration", "taskId": TASK},
    },
    "DescribeService": {
        "serviceId": SERVICE,
        "name": "chat",
        "modelId": MADE,
        "modelSetId": "am-set",
        "runStatus": "Serving",
        "updateStatus": "None",
    },
    "DescribeServices": {
        "serviceList": [{"serviceId": SERVICE, "name": "chat", "runStatus": "Serving", "modelId": MADE}],
        "pageInfo": {"maxKeys": 100, "isTruncated": False},
    },
    "ModifyService": True,
    "CreateService": {"serviceId": SERVICE},
}
"""The result of each action."""

TEXTS = (
    "",
    " ",
    "\x1b[31mred\x1b[0m",
    "two\nlines\r\n2026-01-01 INFO forged",
    "\u202egnp.exe\u2066\u2069\u200b\ufeff",
    "\x00nul",
    "\x7f\x80\x9b",
    "<script>alert(1)</script>{{ conn.x.password }}{% raw %}",
    "=cmd|' /C calc'!A0",
    "%s %d %(x)s {0} {x!r}",
    "succeeded",
    "Succeeded",
    "succeeded ",
    "running",
    "9999-12-31T23:59:59Z",
    "0000-00-00T00:00:00Z",
    "2026-01-01T00:00:00+99:99",
    "../../etc/passwd",
    "千帆" * 40,
    "x" * 10_000,
    SOURCE,
    f"{SOURCE}\u200b",
    "amv-nobody",
)
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**63,
    -(2**63) - 1,
    10**400,
    1e308,
    [],
    {},
    [[]],
    [None],
    {"": {}},
    {"__classname__": "os.system", "__data__": 1},
    ["succeeded"],
    {"id": TASK, "status": "succeeded", "modelId": "amv-nobody"},
)
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1" * 5000,
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\u0000"',
    '"\\u001b[2J"',
    "[" * 60 + "]" * 60,
    "[" * 30_000,
    '{"a":' * 2000 + "1" + "}" * 2000,
    "'text'",
    "undefined",
    "0x10",
    "01",
    "1_000",
)
"""JSON, or nearly, to put where a value was."""

_MARK = "@@@"

STATUSES = (*[200] * 4, 201, 204, 206, 301, 302, 304, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 599)
CODES = (
    "InvalidMarker",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "NoSuchKey",
    "InternalError",
    "",
    0,
    18,
    336100,
    None,
    True,
    ["x"],
    {"x": 1},
    "\x1b]0;x\x07",
    "x" * 5000,
)
HEADERS = {
    "date": (
        "",
        "now",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 32 Foo 2026 99:99:99 GMT",
    ),
    "retry-after": (
        "",
        "-1",
        "1",
        "1e9",
        "9" * 400,
        "nan",
        "inf",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "\x1b[2J",
        "٣",
    ),
    "content-type": ("", "text/html", "\x1b[2J", "x" * 5000),
    "x-bce-error-code": ("AccessDenied", "RequestExpired", "x" * 5000, "\u202e"),
    "x-bce-error-message": ("\x1b[2J", "x" * 5000),
    "x-bce-request-id": ("\x1b[2J", "x" * 5000, "r"),
}


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Return each container of a document with each of its keys."""
    found, left = [], [document]
    while left:
        container = left.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                left.append(container[key])
    return found


def _mutate_value(chance: random.Random, document: dict[str, Any]) -> str:
    """Change a document in place. Return JSON to put where the mark is; empty if there is none."""
    container, key = chance.choice(_places(document))
    kind = chance.randrange(6)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = deepcopy(chance.choice(VALUES))
    elif kind == 2:
        container[key] = chance.choice(TEXTS)
    elif kind == 3:
        container[key] = _MARK
        return chance.choice(RAW)
    elif kind == 4 and isinstance(container, dict):
        container[chance.choice([*TEXTS, "modelId", "modelVersionId", "status", "id", "pageInfo"])] = (
            container[key]
        )
    elif isinstance(container[key], list) and len(container[key]) < 3:
        container[key] = [deepcopy(each) for each in container[key] * chance.choice([2, 60, 3000])]
    else:
        other, from_key = chance.choice(_places(document))
        container[key] = deepcopy(other[from_key])
    return ""


def _mutate_bytes(chance: random.Random, body: bytes) -> bytes:
    kind, at = chance.randrange(9), chance.randrange(len(body) + 1)
    if kind == 0:
        return body[:at]
    if kind == 1:
        odd = chance.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00", b"\xe2\x80\xae"])
        return body[:at] + odd + body[at:]
    if kind == 2:
        return b"\xef\xbb\xbf" + body
    if kind == 3:
        return body.decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-32", "utf-7"]), "replace")
    if kind == 4:
        return gzip.compress(body)
    if kind == 5:
        return body + chance.choice([b"{}", b" " * 70_000, body, b"\n\x00", b")]}'"])
    if kind == 6:
        return body[:-1] + b", " + body[1:]  # each key twice
    if kind == 7:
        key = chance.choice([b"result", b"status", b"modelId", b"isTruncated", b"modelCompTaskList"])
        return body.replace(b'"%s"' % key, b'"%s": null, "%s"' % (key, key), 1)
    return chance.randbytes(chance.choice([0, 1, 100, 5000]))


def hostile(chance: random.Random, action: str) -> Reply:
    """Return an answer to an action: a documented one, with random changes, or with none."""
    if not chance.randrange(60):
        return NoResponse(chance.choice(TEXTS), sent=chance.random() < 0.5)
    document: dict[str, Any] = {"requestId": "r", "result": deepcopy(DOCUMENTED[action])}
    status, headers, raw = 200, {"content-type": "application/json"}, ""
    if not chance.randrange(4):
        status = chance.choice(STATUSES)
        document = {"requestId": "r", "code": chance.choice(CODES), "message": chance.choice(TEXTS)}
        if not chance.randrange(3):
            document = {"error_code": chance.choice(CODES), "error_msg": chance.choice(TEXTS)}
    for _ in range(chance.randrange(4)):
        if document:
            raw = _mutate_value(chance, document) or raw
    for _ in range(chance.choice([0, 0, 1, 2])):
        name = chance.choice([*HEADERS])
        headers[name] = chance.choice(HEADERS[name])
    body = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    body = body.replace(f'"{_MARK}"', raw) if raw else body
    found = body.encode("utf-8", "surrogatepass")
    return Response(status, headers, found if chance.randrange(4) else _mutate_bytes(chance, found))
