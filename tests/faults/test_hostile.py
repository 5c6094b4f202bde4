"""
Whatever the other side sends, and however slowly: a named error, in time, in little memory, and no stall.

In a worker and in a triggerer. ``--tables`` prints the rows: input, process, error, seconds, MiB, and the
longest stall of the event loop in milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from base64 import b64decode
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_provider_qianfan.api.errors import (
    MODEL_PATH,
    QianfanAPIError,
    QianfanConfigurationError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import (
    MAX_ANSWER_BYTES,
    Endpoint,
    Exchange,
    NoResponse,
    RetryPolicy,
)
from airflow_provider_qianfan.api.model_compression import LIST
from airflow_provider_qianfan.api.signing import Credentials, Secret
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.hooks import _sockets
from airflow_provider_qianfan.hooks._driver import Driver
from airflow_provider_qianfan.hooks._session import NoAnswerError, SigningSession
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.triggers._thread import DriverThread
from tests.faults.connect import ConnectProxy, SocksProxy, wait_until
from tests.faults.raw import (
    RawServer,
    agree,
    cut,
    drip,
    end,
    end_tls,
    flood,
    plainly,
    read,
    read_request,
    read_some,
    say,
)
from tests.faults.tls import NAME, TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.steps import TaskStep

pytestmark = pytest.mark.faults

TIMEOUT = 0.5
LATE = 0.35
"""Seconds by which a busy machine may be late."""

MOST_MIB = 12.0
LONGEST_TEXT = 4000
LONGEST_STALL = 0.1
ROUNDS = 5
"""A machine is not busy with other things each time."""

Answer = dict[str, Any] | QianfanError


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row of the table.

    :param steps: what the server does with the connection.
    :param error: what the caller is told. None: the answer is accepted.
    :param sent: whether the request may have arrived. None: it depends on which of the two was faster.
    :param way: how the request gets to the server, and what the server is: ``plain`` HTTP, a server with
        ``tls``, a proxy to ``connect`` through, a ``socks`` proxy.
    :param tls: the server agrees on TLS first, so.
    :param says: a part of the message.
    """

    steps: tuple[TaskStep, ...]
    error: type[QianfanError] | None = QianfanTransientError
    sent: bool | None = True
    way: str = "plain"
    tls: dict[str, Any] | None = None
    says: str = ""


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n"


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Write a correct answer; the next request is for another connection."""
    lines = (b"HTTP/1.1 " + status, b"Connection: close", b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def answers(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> tuple[TaskStep, ...]:
    """Read a request and answer it."""
    return read, say(whole(body, *headers, status=status))


def kept(body: bytes) -> bytes:
    """Write a correct answer, after which the server keeps the connection."""
    return whole(body).replace(b"Connection: close", b"Connection: keep-alive")


def filled(start: bytes, piece: bytes, finish: bytes, size: int = MAX_ANSWER_BYTES - 1) -> bytes:
    """Write an object of a size that is just not refused for it."""
    room = size - len(b'{"result":') - len(start) - len(finish) - 1
    return b'{"result":' + start + piece * (room // len(piece)) + finish + b"}"


GOOD = b'{"result": {}}'
NULS = bytes(64 * 1024 * 1024)
BOMB = gzip.compress(gzip.compress(NULS, mtime=0), mtime=0)
BOMBS = {
    "gzip": gzip.compress(NULS, mtime=0),
    "deflate": zlib.compress(NULS),
    "br": b64decode(
        "y///P/gnAOKxQCD3/o///3/wTwDEYRGA7v0f////4J8AiMMCAN37P/7//8E/ARCHBQC693/8//+DfwIgDgsAdO//+P//B/8EQBwWAOj"
        "e//H//w/+CYA4LADQvf/j//8f/BMAcVgAoHv/Nw=="
    ),
    # A frame of blocks that each stand for 128 KiB of NUL.
    "zstd": b"\x28\xb5\x2f\xfd\x00\x38" + b"\x02\x00\x10\x00" * 511 + b"\x03\x00\x10\x00",
}
"""``NULS``, encoded in four ways."""
FOR_EVER = {"dripped": drip, "endless": flood}

ROWS: dict[str, Row] = {}
for how, for_ever in FOR_EVER.items():
    ROWS |= {
        f"status line, {how}": Row((read, say(b"HTTP/1.1 200 "), for_ever(b"O"))),
        f"headers, {how}": Row((read, say(OK), for_ever(b"X-Y: z\r\n"))),
        f"a header line, {how}": Row((read, say(OK + b"X-Y: "), for_ever(b"z"))),
        f"interim answers 100, {how}": Row((read, for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"))),
        f"interim answers 103, {how}": Row((read, for_ever(b"HTTP/1.1 103 Early Hints\r\n\r\n"))),
        f"body by length, {how}": Row((read, say(OK + b"Content-Length: 100000000\r\n\r\n"), for_ever(b" "))),
        f"body without length, {how}": Row((read, say(OK + b"\r\n"), for_ever(b" "))),
        f"body in chunks, {how}": Row((read, say(CHUNKED), for_ever(b"1\r\n \r\n"))),
        f"body of one chunk, {how}": Row((read, say(CHUNKED + b"fffffff\r\n"), for_ever(b" "))),
        f"chunk size, {how}": Row((read, say(CHUNKED), for_ever(b"0"))),
        f"chunk extension, {how}": Row((read, say(CHUNKED + b"1;x="), for_ever(b"y"))),
        f"chunk extensions, {how}": Row((read, say(CHUNKED), for_ever(b"1;x=y\r\n \r\n"))),
        f"trailers, {how}": Row((read, say(CHUNKED + b"0\r\n"), for_ever(b"X-Y: z\r\n"))),
        f"gzip, its header's comment, {how}": Row(
            (read, say(GZIP + b"\r\n\x1f\x8b\x08\x10\0\0\0\0\0\x03"), for_ever(b"c")), says="gzip"
        ),
        f"body of a 503, {how}": Row(
            (read, say(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), for_ever(b"x"))
        ),
        f"TLS handshake, {how}": Row((read_some, for_ever(b"\x16\x03\x03")), sent=False, way="tls"),
        f"headers within TLS, {how}": Row((read, say(OK), for_ever(b"X-Y: z\r\n")), way="tls", tls={}),
        f"body within TLS, {how}": Row((read, say(OK + b"\r\n"), for_ever(b" ")), way="tls", tls={}),
        f"CONNECT, status line, {how}": Row(
            (read, say(b"HTTP/1.1 200 "), for_ever(b"O")), sent=False, way="connect"
        ),
        f"CONNECT, headers, {how}": Row((read, say(OK), for_ever(b"X-Y: z\r\n")), sent=False, way="connect"),
        f"CONNECT, then TLS handshake, {how}": Row(
            (read, say(OK + b"\r\n"), for_ever(b"\x16\x03\x03")), sent=False, way="connect"
        ),
        f"SOCKS, {how}": Row((read_some, for_ever(b"\x05")), sent=False, way="socks"),
        f"SOCKS, the name it says, {how}": Row(
            (read_some, say(b"\x05\x00"), read_some, say(b"\x05\x00\x00\x03\xff"), for_ever(b"x")),
            sent=False,
            way="socks",
        ),
    }

FRAMING = {
    "much promised, little sent": Row((read, say(OK + b"Content-Length: 999999999999999999\r\n\r\n{}"), end)),
    "length of 5,000 digits": Row((read, say(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"))),
    "negative length": Row((read, say(OK + b"Content-Length: -5\r\n\r\n" + GOOD))),
    "two lengths": Row((read, say(OK + b"Content-Length: 2\r\nContent-Length: 14\r\n\r\n" + GOOD))),
    "two lengths in one line": Row((read, say(OK + b"Content-Length: 2, 14\r\n\r\n" + GOOD))),
    "length that is no number": Row((read, say(OK + b"Content-Length: 0x0e\r\n\r\n" + GOOD))),
    "negative chunk": Row((read, say(CHUNKED + b"-5\r\n" + GOOD))),
    "chunk that is no number": Row((read, say(CHUNKED + b"zz\r\n" + GOOD))),
    "chunk of -0": Row((read, say(CHUNKED + b"-0\r\n\r\n" + GOOD))),
    "chunk of 2^63 - 1": Row((read, say(CHUNKED + b"7fffffffffffffff\r\n" + GOOD), end)),
    "chunk of 2^64": Row((read, say(CHUNKED + b"10000000000000000\r\n" + GOOD), end)),
    "chunk without a size": Row((read, say(CHUNKED + b"\r\n" + GOOD))),
    "chunk longer than its size": Row((read, say(CHUNKED + b"5\r\n" + GOOD + b"\r\n0\r\n\r\n"))),
    "trailers that change the length": Row(
        (
            read,
            say(CHUNKED + b"e\r\n" + GOOD + b"\r\n0\r\nContent-Length: 5\r\nContent-Encoding: br\r\n\r\n"),
        ),
        None,
    ),
    "chunk of 10^5000": Row((read, say(CHUNKED + b"1" + b"0" * 5000 + b"\r\n" + GOOD))),
    "gzip, chunked": Row(
        (read, say(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"), say(b"e\r\n" + GOOD + b"\r\n0\r\n\r\n"))
    ),
    "unknown transfer encoding": Row((read, say(OK + b"Transfer-Encoding: nonsense\r\n\r\n"), say(GOOD))),
    "gzip twice, a bomb": Row(
        answers(BOMB, b"Content-Encoding: gzip, gzip"), says="Content-Encoding 'gzip, gzip'"
    ),
    **{
        f"{coding}, a bomb": Row(
            answers(bomb, b"Content-Encoding: " + coding.encode()), says=f"Content-Encoding '{coding}'"
        )
        for coding, bomb in BOMBS.items()
    },
    "a bomb with a 503": Row(answers(BOMBS["gzip"], b"Content-Encoding: gzip", status=b"503 No"), says="503"),
    "a bomb that says it is none": Row(
        answers(BOMBS["gzip"], b"Content-Encoding: identity", b"Content-Encoding: gzip"),
        says="Content-Encoding 'identity, gzip'",
    ),
    "a bomb that says nothing": Row(answers(BOMBS["gzip"])),
    "gzip": Row(answers(gzip.compress(GOOD), b"Content-Encoding: GZIP"), says="Content-Encoding 'gzip'"),
    "identity": Row(answers(GOOD, b"Content-Encoding: identity"), None),
    "HTTP/0.9": Row((read, say(GOOD), end)),
    "HTTP/9.9": Row((read, say(b"HTTP/9.9 200 OK\r\n\r\n" + GOOD), end)),
    "another protocol": Row((read, say(b"220 mail.example.com ESMTP\r\n"))),
    "status of no number": Row((read, say(b"HTTP/1.1 abc OK\r\n\r\n"))),
    "status 99": Row((read, say(b"HTTP/1.1 99 OK\r\n\r\n"))),
    "status 999": Row(answers(GOOD, status=b"999 OK")),
    "control characters in the status line": Row(answers(b"", status=b"500 \x00\x1b[31m\x07\x85")),
    "control characters in headers": Row(answers(b"", b"X-\x00: \x1b[31m\x07\x85", status=b"500 Oh")),
    "no header at all": Row(answers(GOOD, b"no header \x00", b"X: y"), None),
    "5,000 headers": Row(answers(GOOD, *(b"X-%d: y" % number for number in range(5000)))),
    "a header of 1 MB": Row(answers(GOOD, b"X: " + b"y" * 1_000_000)),
    "a status line of 60 KB": Row(answers(b"", status=b"500 " + b"y" * 60_000)),
    "90 headers of 60 KB": Row(answers(GOOD, *(b"X-%d: " % number + b"y" * 60_000 for number in range(90)))),
    "90 headers of 13 KB": Row(
        answers(GOOD, *(b"X-%d: " % number + b"y" * 13_000 for number in range(90))), None
    ),
    "200 headers": Row(answers(GOOD, *(b"X-%d: y" % number for number in range(200)))),
    "no answer": Row((read, end)),
    "an answer before the request": Row((say(whole(GOOD)),), None),
    "an answer within the request": Row((read_some, say(whole(b"{}", status=b"503 No")), end)),
    "redirect": Row(
        answers(b"", b"Location: https://example.com/", status=b"302 Found"), QianfanProtocolError
    ),
    "redirect to nowhere": Row(
        answers(b"", b"Location: http://[\xff\x00", status=b"302 Found"), QianfanProtocolError
    ),
    "redirect to itself": Row(answers(b"", b"Location: /v2/model", status=b"307 Loop"), QianfanProtocolError),
    "101": Row((read, say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"))),
    "204 with a body": Row(answers(GOOD, status=b"204 No Content")),
    "304 with a body": Row(answers(GOOD, status=b"304 Not Modified"), QianfanProtocolError),
    "103 and the answer later": Row((read, say(b"HTTP/1.1 103 Early\r\n\r\n"), read, say(whole(GOOD)))),
    "reset at once": Row((cut,), sent=None),
    "reset within the request": Row((read_some, cut)),
    "reset after the request": Row((read, cut)),
    "reset within the status line": Row((read, say(b"HTTP/1.1 2"), cut)),
    "reset within the headers": Row((read, say(OK + b"X-Y"), cut)),
    "reset within the body": Row((read, say(whole(GOOD)[:-1]), cut)),
    "reset within a chunk": Row((read, say(CHUNKED + b"5\r\n{"), cut)),
    "closed at once": Row((end,)),
    "closed within the request": Row((read_some, end)),
    "closed within the status line": Row((read, say(b"HTTP/1.1 2"), end)),
    "closed within the headers": Row((read, say(OK + b"X-Y"), end)),
    "closed within the body": Row((read, say(whole(GOOD)[:-1]), end)),
    "closed within a chunk size": Row((read, say(CHUNKED + b"5"), end)),
    "closed within a chunk": Row((read, say(CHUNKED + b"5\r\n{"), end)),
    "closed before the last chunk": Row((read, say(CHUNKED + b"e\r\n" + GOOD + b"\r\n"), end)),
    "never answered": Row((read,)),
}

HEADERS = {
    "Set-Cookie of 60 KB": Row(
        answers(GOOD, b"Set-Cookie: a=b; expires=1 Jan 2000" + b" " * 60000 + b"!"), None
    ),
    "Set-Cookie until 10^5000": Row(
        answers(GOOD, b"Set-Cookie: a=b; expires=1 Jan " + b"9" * 5000 + b"; max-age=" + b"9" * 5000), None
    ),
    "90 cookies": Row(answers(GOOD, *(b"Set-Cookie: c%d=%d" % (n, n) for n in range(90))), None),
    "charset without a value": Row(answers(GOOD, b"Content-Type: application/json; charset"), None),
    "Date of the year 9999": Row(answers(GOOD, b"Date: Fri, 31 Dec 9999 23:59:59 -0100"), None),
    "Date of 60 KB": Row(answers(GOOD, b"Date: " + b"Fri, 31 Dec " * 5000), None),
    "Date of 10^5000": Row(answers(GOOD, b"Date: Fri, 31 Dec " + b"9" * 5000 + b" 00:00:00 GMT"), None),
    "RequestExpired and a Date of the year 9999": Row(
        answers(
            b'{"code": "RequestExpired"}', b"Date: Fri, 31 Dec 9999 23:59:59 -0100", status=b"400 Bad Request"
        ),
        QianfanAPIError,
    ),
    "Retry-After of the year 9999": Row(
        answers(b"", b"Retry-After: Fri, 31 Dec 9999 23:59:59 -0100", status=b"429 Slow"),
        QianfanRateLimitError,
    ),
    "Retry-After of 10^400": Row(
        answers(b"", b"Retry-After: 1" + b"0" * 400, status=b"429 Slow"), QianfanRateLimitError
    ),
    "Retry-After of 10^5000": Row(
        answers(b"", b"Retry-After: 1" + b"0" * 5000, status=b"503 Slow"), QianfanTransientError
    ),
}

LEFT_OVER = kept(b'{"result": {"modelCompTaskList": "of another request"}}')
SPARE = kept(b'{"result": {"modelCompTaskList": []}}')
RECORD = 16_000
"""Bytes of an answer. They fit into a record of TLS, but not into the buffer of the client."""

KEPT = {
    "two answers": Row((read, say(kept(GOOD) + LEFT_OVER), read, say(SPARE)), None),
    "an answer and half of one": Row((read, say(kept(GOOD) + LEFT_OVER[:-9]), read, say(SPARE)), None),
    "a body longer than its length": Row((read, say(kept(GOOD) + b"}}}"), read, say(SPARE)), None),
    "a longer one, and another answer": Row(
        (read, say(kept(filled(b"", b" ", b"1", RECORD)) + LEFT_OVER), read, say(SPARE)), None
    ),
    "an answer after its time": Row(
        (read, lambda _: time.sleep(TIMEOUT + 0.1), say(kept(GOOD)), read, say(SPARE))
    ),
    "an answer, closed in order": Row((read, say(kept(GOOD)), end), None),
    "two answers, within TLS": Row(
        (read, say(kept(GOOD) + LEFT_OVER), read, say(SPARE)), None, way="tls", tls={}
    ),
    "two answers, in one record of TLS": Row(
        (read, say(kept(filled(b"", b" ", b"1", RECORD)) + LEFT_OVER), read, say(SPARE)),
        None,
        way="tls",
        tls={},
    ),
}
"""Bytes that are left on a kept connection. They must not answer the next request."""

BODIES = {
    "10 MB": Row(answers(filled(b'"', b"x", b'"', 10_000_000))),
    "10 MB in chunks": Row(
        (read, say(CHUNKED + b"989680\r\n" + filled(b'"', b"x", b'"', 10_000_000)[:-1] + b" }\r\n0\r\n\r\n"))
    ),
    "a message of 10 MB": Row(
        answers(b'{"code": "No", "message": "' + b"x" * 10_000_000 + b'"}', status=b"400 Bad Request")
    ),
    "a message of a page": Row(
        answers(b'{"code": "No", "message": "' + b"x" * 1_000_000 + b'"}', status=b"400 Bad Request"),
        QianfanAPIError,
    ),
    "8 MB of []": Row(answers(filled(b"[", b"[],", b"[]]", 8_000_000))),
    "a page of []": Row(answers(filled(b"[", b"[],", b"[]]"))),
    "a page of {}": Row(answers(filled(b"[", b"{},", b"{}]"))),
    "a page of 1": Row(answers(filled(b"[", b"1,", b"1]"))),
    "a page of -1e9": Row(answers(filled(b"[", b"-1e9,", b"1]"))),
    "a page of strings": Row(answers(filled(b"[", b'"",', b'""]'))),
    "a page of keys": Row(
        answers(b'{"result":{' + b",".join(b'"%d":0' % n for n in range(MAX_ANSWER_BYTES // 12)) + b"}}")
    ),
    "a page of one string": Row(answers(filled(b'"', b"x", b'"')), None),
    "a page of one string, wide": Row(answers(filled('"🎈'.encode(), b"x", b'"')), None),
    "a page of escapes": Row(answers(filled(b'"', b"\\u0041", b'"')), None),
    "a page of blanks": Row(answers(filled(b"", b" ", b"1")), None),
    "a page of one number": Row(answers(filled(b"", b"9", b""))),
    "a page of one fraction": Row(answers(filled(b"0.", b"9", b""))),
    "lists in lists": Row(answers(filled(b"", b"[", b""))),
    "lists in lists, complete": Row(answers(b'{"result":' + b"[" * 20000 + b"]" * 20000 + b"}")),
    "objects in objects": Row(answers(b'{"a":' * 60 + b"1" + b"}" * 60)),
    "an error of lists": Row(answers(b'{"code":' + b"[" * 45 + b"1" + b"]" * 45 + b"}"), QianfanAPIError),
    "an error of a list": Row(
        answers(b'{"code":[' + b"[]," * 4000 + b"1]}", status=b"400 Bad"), QianfanAPIError
    ),
    "1e999": Row(answers(b'{"result": 1e999}')),
    "NaN": Row(answers(b'{"result": NaN}')),
    "an integer of 5,000 digits": Row(answers(b'{"result": ' + b"9" * 5000 + b"}")),
    "an integer of 400 digits": Row(answers(b'{"result": ' + b"9" * 400 + b"}")),
    "a lone surrogate, escaped": Row(answers(b'{"result": "\\ud800"}')),
    "a lone surrogate, raw": Row(answers(b'{"result": "\xed\xa0\x80"}')),
    "NUL, escaped": Row(answers(b'{"result": "\\u0000"}')),
    "NUL, raw": Row(answers(b'{"result": "\x00"}')),
    "UTF-16": Row(answers('{"result": {}}'.encode("utf-16"))),
    "UTF-8 with a BOM": Row(answers(b"\xef\xbb\xbf" + GOOD), None),
    "not an object": Row(answers(b"[]")),
    "an id with a control character": Row(answers(b'{"result": {"modelId": "amv-\\n1"}}')),
}

HTTP_2 = b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\x08\x07\0\0\0\0\0" + bytes(8)
"""The first frames of a server that speaks only HTTP/2: its settings, and then GOAWAY."""

ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
TLS = {
    "TLS, never answered": Row((), sent=False, way="tls"),
    "TLS, reset at once": Row((read_some, cut), sent=False, way="tls"),
    "TLS, closed at once": Row((read_some, end), sent=False, way="tls"),
    "TLS, an alert": Row((read_some, say(ALERT)), sent=False, way="tls"),
    "TLS, plain HTTP": Row((read_some, say(whole(GOOD))), sent=False, way="tls"),
    "TLS, wants our certificate": Row((), way="tls", tls={"ask": True}),
    "TLS, tickets without end": Row((), way="tls", tls={"tickets": 10_000_000}, sent=True),
    "TLS, an alert after the request": Row((read, plainly(ALERT)), way="tls", tls={}),
    "TLS, plain text after the request": Row((read, plainly(whole(GOOD))), way="tls", tls={}),
    "TLS 1.0": Row((read, say(whole(GOOD))), sent=False, way="tls", tls={"newest": ssl.TLSVersion.TLSv1}),
    "TLS 1.1": Row((read, say(whole(GOOD))), sent=False, way="tls", tls={"newest": ssl.TLSVersion.TLSv1_1}),
    "TLS 1.2": Row((read, say(whole(GOOD))), None, way="tls", tls={"newest": ssl.TLSVersion.TLSv1_2}),
    "TLS, HTTP/2 at once": Row((say(HTTP_2), read), way="tls", tls={}),
    "TLS, reset after the request": Row((read, cut), way="tls", tls={}),
    "TLS, ended within the headers": Row((read, say(OK + b"X-Y"), end_tls), way="tls", tls={}),
    "TLS, ended within the body": Row((read, say(whole(GOOD)[:-1]), end_tls), way="tls", tls={}),
    "TLS, ended where a body without length ends": Row(
        (read, say(OK + b"\r\n" + GOOD), end_tls), None, way="tls", tls={}
    ),
    "TLS, closed where a body without length ends": Row(
        (read, say(OK + b"\r\n" + GOOD), end), None, way="tls", tls={}
    ),
    "TLS, closed after the answer": Row((read, say(whole(GOOD)), end), None, way="tls", tls={}),
    "TLS, closed within the body": Row((read, say(whole(GOOD)[:-1]), end), way="tls", tls={}),
    "TLS, closed where a body without length may end": Row(
        (read, say(OK + b"\r\n" + GOOD[:-1]), end), way="tls", tls={}
    ),
}

PROXIES = {
    "CONNECT, never answered": Row((read,), sent=False, way="connect"),
    "CONNECT, reset": Row((read, cut), sent=False, way="connect"),
    "CONNECT, closed": Row((read, end), sent=False, way="connect"),
    "CONNECT, garbage": Row((read, say(b"\x00\xff\r\n\r\n")), sent=False, way="connect"),
    "CONNECT, status of no number": Row((read, say(b"HTTP/1.1 abc\r\n\r\n")), sent=False, way="connect"),
    "CONNECT, 100": Row((read, say(b"HTTP/1.1 100 Continue\r\n\r\n")), sent=False, way="connect", says="100"),
    "CONNECT, 204": Row(
        (read, say(b"HTTP/1.1 204 No Content\r\n\r\n")), sent=False, way="connect", says="204"
    ),
    "CONNECT, HTTP/0.9": Row((read, say(GOOD), end), sent=False, way="connect"),
    "CONNECT, 200 headers": Row(
        (read, say(OK + b"X-Y: z\r\n" * 200 + b"\r\n"), end), sent=False, way="connect"
    ),
    "CONNECT, a header of 1 MB": Row(
        (read, say(OK + b"X-Y: " + b"z" * 1_000_000 + b"\r\n\r\n")), sent=False, way="connect"
    ),
    "CONNECT, a redirect": Row(
        (read, say(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n")),
        sent=False,
        way="connect",
        says="302",
    ),
    "CONNECT, 502": Row(
        (read, say(b"HTTP/1.1 502 \x1b[31mBad\r\n\r\n")), sent=False, way="connect", says="502"
    ),
    "CONNECT, 503": Row((read, say(b"HTTP/1.1 503 No\r\n\r\n")), sent=False, way="connect", says="503"),
    "CONNECT, 403": Row(
        (read, say(b"HTTP/1.1 403 No\r\n\r\n")), QianfanConfigurationError, False, "connect", says="403"
    ),
    "CONNECT, 407": Row(
        (read, say(b"HTTP/1.1 407 Who\r\n\r\n")), QianfanConfigurationError, False, "connect", says="407"
    ),
    "CONNECT, then plain HTTP": Row((read, say(OK + b"\r\n" + whole(GOOD))), sent=False, way="connect"),
    "CONNECT, then reset": Row((read, say(OK + b"\r\n"), cut), sent=False, way="connect"),
    "CONNECT, then TLS, reset after the request": Row((read, cut), way="connect", tls={}),
    "CONNECT, then TLS, headers dripped": Row((read, say(OK), drip(b"X-Y: z\r\n")), way="connect", tls={}),
    "SOCKS, never answered": Row((read_some,), sent=False, way="socks"),
    "SOCKS, reset": Row((read_some, cut), sent=False, way="socks"),
    "SOCKS, garbage": Row((read_some, say(b"HTTP/1.1 400 Bad Request\r\n\r\n")), sent=False, way="socks"),
    "SOCKS, refuses the user": Row(
        (read_some, say(b"\x05\x02"), read_some, say(b"\x01\x01")),
        QianfanConfigurationError,
        sent=False,
        way="socks",
    ),
    "SOCKS, no way that we offer": Row(
        (read_some, say(b"\x05\xff")), QianfanConfigurationError, sent=False, way="socks"
    ),
    "SOCKS, cannot reach it": Row(
        (read_some, say(b"\x05\x00"), read_some, say(b"\x05\x05\x00\x01\0\0\0\0\0\0")),
        sent=False,
        way="socks",
    ),
}

ROWS |= FRAMING | HEADERS | KEPT | BODIES | TLS | PROXIES


@dataclass(slots=True)
class Stage:
    """The good servers behind the hostile ones."""

    emulator: EmulatorServer
    tls: TlsServer
    certificate: Path
    key: Path
    behind: dict[str, tuple[str, int]]

    def play(self, row: Row) -> RawServer:
        """Make the server of a row: hostile once, and good after that."""
        first: list[TaskStep] = []
        if row.tls is not None and row.way == "connect":
            first += [read, say(OK + b"\r\n")]
        if row.tls is not None:
            first.append(agree(self.certificate, self.key, **row.tls))
        return RawServer(self.behind[row.way], (*first, *row.steps))

    def settings(self, way: str, port: int, timeout: float = TIMEOUT, verify: Path | None = None) -> Settings:
        """Return the settings of a connection that leads there."""
        account = self.emulator.world.account
        credentials = Credentials(account.access_key_id, account.secret_access_key)
        url = {"plain": f"http://127.0.0.1:{port}", "tls": f"https://127.0.0.1:{port}"}
        proxy = {"connect": f"http://127.0.0.1:{port}", "socks": f"socks5h://user:password@127.0.0.1:{port}"}
        return Settings(
            Endpoint.parse(url.get(way, f"https://{NAME}")),
            credentials,
            timeout,
            str(verify or self.certificate),
            Secret(proxy[way]) if way in proxy else None,
        )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("hostile")
    with ExitStack() as stack:
        emulator = stack.enter_context(EmulatorServer(allowed_hosts=(NAME,)))
        tls = stack.enter_context(TlsServer(emulator.url, folder))
        connect = stack.enter_context(ConnectProxy(tls.address))
        socks = stack.enter_context(SocksProxy(tls.address, user="user:password"))
        behind = {
            "plain": ("127.0.0.1", emulator.port),
            "tls": tls.address,
            "connect": ("127.0.0.1", connect.port),
            "socks": ("127.0.0.1", socks.port),
        }
        gc.collect()
        gc.freeze()  # all of Airflow, which a collection would look through meanwhile
        stack.callback(gc.unfreeze)
        yield Stage(emulator, tls, tls.certificate, folder / "certificate-key.pem", behind)


@dataclass(slots=True)
class Seen:
    """What came of a call."""

    answer: Answer
    seconds: float = 0.0
    mib: float = 0.0
    stall: float = 0.0

    @property
    def told(self) -> str:
        return type(self.answer).__name__ if isinstance(self.answer, QianfanError) else "accepted"

    @property
    def sent(self) -> bool:
        if isinstance(self.answer, QianfanTransientError):
            return self.answer.sent
        return not isinstance(self.answer, QianfanConfigurationError)

    @property
    def good(self) -> bool:
        """Tell whether it is within the limits."""
        within = self.seconds <= TIMEOUT + LATE  # for reaching the server, or for its answer
        return within and self.mib <= MOST_MIB and self.stall < LONGEST_STALL


def ask(settings: Settings) -> Any:
    exchange = Exchange(settings.endpoint, settings.credentials, retry=RetryPolicy(tries=1))
    return exchange.call(MODEL_PATH, LIST)


def in_a_worker(settings: Settings) -> tuple[Seen, Answer]:
    """Ask twice; measure the first time and its memory."""
    with Driver(settings) as driver:
        tracemalloc.start()
        began, (before, _) = time.monotonic(), tracemalloc.get_traced_memory()
        try:
            answer: Answer = driver.run(ask(settings))
        except QianfanError as error:
            answer = error
        finally:
            seconds, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
            tracemalloc.stop()
        seen = Seen(answer, seconds, (peak - before) / 2**20)
        try:
            return seen, driver.run(ask(settings))
        except QianfanError as error:
            return seen, error


def in_a_triggerer(settings: Settings) -> tuple[Seen, Answer]:
    """Ask twice; measure the first time and how long the event loop was held up."""

    async def run() -> tuple[Seen, Answer]:
        longest = [0.0]
        thread = DriverThread(settings)
        try:
            heart = asyncio.create_task(beat(longest))
            await asyncio.sleep(0)
            began = time.monotonic()
            try:
                answer: Answer = await thread.run(ask(settings))
            except QianfanError as error:
                answer = error
            seconds = time.monotonic() - began
            heart.cancel()
            await asyncio.wait([heart])
            seen = Seen(answer, seconds, 0.0, longest[0])
            try:
                return seen, await thread.run(ask(settings))
            except QianfanError as error:
                return seen, error
        finally:
            thread.stop()

    return asyncio.run(run())


def is_page(answer: Answer) -> bool:
    """Tell whether an answer is a page of the emulator."""
    if isinstance(answer, QianfanError):
        return False
    return isinstance(answer["result"].get("modelCompTaskList"), list)


async def beat(longest: list[float]) -> None:
    last = time.monotonic()
    try:
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            longest[0], last = max(longest[0], now - last - 0.005), now
    finally:
        longest[0] = max(longest[0], time.monotonic() - last - 0.005)


def nothing_is_left(port: int) -> bool:
    """Tell whether neither a thread of ours nor a socket to a server is left."""
    threads = [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("qianfan-") and "emulator" not in thread.name
    ]
    sockets = [
        each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port
    ]
    return not threads and not sockets


@pytest.fixture(params=[in_a_worker, in_a_triggerer], ids=["worker", "triggerer"])
def process(request: pytest.FixtureRequest) -> Callable[[Settings], tuple[Seen, Answer]]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(("name", "row"), ROWS.items(), ids=ROWS)
def test_hostile(
    stage: Stage,
    process: Callable[[Settings], tuple[Seen, Answer]],
    name: str,
    row: Row,
    record_property: Callable[[str, object], None],
) -> None:
    for _ in range(ROUNDS):
        with stage.play(row) as server:
            seen, after = process(stage.settings(row.way, server.port))
            wait_until(lambda: nothing_is_left(server.port))
        if seen.good and is_page(after) and (row.sent is None or seen.sent is row.sent):
            break
    record_property(
        "hostile",
        (
            name,
            process.__name__.rpartition("_")[2],
            seen.told,
            f"{seen.seconds:.2f}",
            f"{seen.mib:.1f}" if seen.mib else "",
            f"{seen.stall * 1000:.0f}" if seen.stall else "",
        ),
    )
    assert (type(seen.answer) if isinstance(seen.answer, QianfanError) else None) is row.error
    assert row.sent is None or seen.sent is row.sent
    assert row.says in str(seen.answer)
    assert str(seen.answer).isprintable()
    assert row.error is None or len(str(seen.answer)) <= LONGEST_TEXT
    assert seen.good
    assert is_page(after), after


def test_a_name_that_is_looked_up_for_ever(
    stage: Stage, process: Callable[[Settings], tuple[Seen, Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[object] = []
    answered = threading.Event()

    def resolve(*arguments: Any, **more: Any) -> Any:
        looked_up.append(arguments)
        if len(looked_up) == 1:
            answered.wait(20)
        return socket.getaddrinfo(*arguments, **more)

    monkeypatch.setattr(_sockets, "Attempt", partial(_sockets.Attempt, resolve=resolve))
    with RawServer(stage.behind["plain"]) as server:
        seen, after = process(stage.settings("plain", server.port))
        answered.set()
        wait_until(lambda: nothing_is_left(server.port))

    assert isinstance(seen.answer, QianfanTransientError)
    assert not seen.answer.sent
    assert "connecting to" in str(seen.answer)
    assert 0.9 * TIMEOUT < seen.seconds < 10 * TIMEOUT
    assert is_page(after), after


ELSEWHERE = {
    **{
        f"{status}, Location": (b"%d Go" % status, b"Location: %s")
        for status in (200, 201, 300, 301, 302, 303, 305, 307, 308)
    },
    "200, Refresh": (b"200 OK", b"Refresh: 0; url=%s"),
    "200, Alt-Svc": (b"200 OK", b'Alt-Svc: http/1.1="%s"'),
    "200, Link": (b"200 OK", b"Link: <%s>; rel=preload"),
    "302, two places": (b"302 Go", b"Location: /v2/model\r\nLocation: %s"),
}


@pytest.mark.parametrize(("status", "header"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_no_other_host_is_asked(
    stage: Stage, process: Callable[[Settings], tuple[Seen, Answer]], status: bytes, header: bytes
) -> None:
    redirects = status.startswith(b"3")
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        where = b"http://127.0.0.1:%d/" % elsewhere.getsockname()[1]
        if b"Alt-Svc" in header:
            where = where.removeprefix(b"http://").removesuffix(b"/")
        script = answers(GOOD, header % where, status=status)
        with RawServer(stage.behind["plain"], script, script) as server:
            given = stage.settings("plain", server.port)
            with SigningSession(given) as session:
                assert posted(session) == (int(status[:3]), None)
            seen, after = process(given)
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()

    assert seen.told == ("QianfanProtocolError" if redirects else "accepted")
    assert is_page(after), after


def test_cookies_without_end(stage: Stage) -> None:
    """None is sent back, and none is kept."""
    cookies = [b"Set-Cookie: c%d=%s" % (number, b"x" * 1000) for number in range(50)]
    answer = whole(GOOD, *cookies).replace(b"Connection: close", b"Connection: keep-alive")
    asked: list[bytes] = []

    def step(connection: socket.socket) -> None:
        while True:
            asked.append(read_request(connection))
            connection.sendall(answer)

    with RawServer(stage.behind["plain"], (step,), (step,)) as server:
        given = stage.settings("plain", server.port, timeout=10)
        with Driver(given) as driver, SigningSession(given) as session:
            kept = []
            tracemalloc.start()
            for _ in range(4):
                for _ in range(10):
                    driver.run(ask(given))
                    session.get("/v2/model")
                assert not any(b"cookie" in head.lower() for head in asked)
                asked.clear()
                gc.collect()
                kept.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()

    assert kept[-1] - kept[0] < len(answer)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.way == "tls"])
def test_tls_within_tls(stage: Stage, name: str, tmp_path: Path) -> None:
    """A proxy that is reached through TLS, and a server with TLS behind it, which is hostile."""
    row = ROWS[name]
    with (
        stage.play(row) as server,
        ConnectProxy(("127.0.0.1", server.port)) as connect,
        TlsServer(connect.url, tmp_path) as proxy,
    ):
        proxy.context.load_cert_chain(stage.certificate, stage.key)
        given = replace(stage.settings("connect", 1, timeout=2 * TIMEOUT), proxy=Secret(proxy.url))
        seen, after = in_a_worker(given)
        wait_until(lambda: nothing_is_left(proxy.address[1]))

    assert (type(seen.answer) if isinstance(seen.answer, QianfanError) else None) is row.error
    assert seen.sent is row.sent
    assert seen.seconds < 10 * TIMEOUT
    assert is_page(after), after


SOME = [
    "headers, dripped",
    "body by length, endless",
    "trailers, endless",
    "gzip twice, a bomb",
    "two lengths",
    "status of no number",
    "redirect to nowhere",
    "103 and the answer later",
    "Set-Cookie of 60 KB",
    "TLS handshake, dripped",
    "TLS, plain HTTP",
    "TLS, an alert after the request",
    "CONNECT, headers, dripped",
    "CONNECT, 407",
    "SOCKS, dripped",
]


@pytest.mark.parametrize("name", SOME)
def test_a_session(stage: Stage, name: str) -> None:
    """It has one error for all, and leaves what came to its user."""
    row = ROWS[name]
    with stage.play(row) as server:
        with SigningSession(stage.settings(row.way, server.port)) as session:
            began = time.monotonic()
            status, reply = posted(session)
            seconds = time.monotonic() - began
            assert posted(session) == (200, None)
        wait_until(lambda: nothing_is_left(server.port))

    assert seconds < 5
    if row.error in (None, QianfanProtocolError) or name.startswith("103"):
        assert reply is None
        assert status == {None: 200, QianfanProtocolError: 302}.get(row.error, 103)
    else:
        assert reply is not None
        assert reply.sent is row.sent
        assert reply.permanent is (row.error is QianfanConfigurationError)


def posted(session: SigningSession) -> tuple[int, NoResponse | None]:
    try:
        return session.post(MODEL_PATH, params={"Action": LIST}, json={}).status_code, None
    except NoAnswerError as error:
        return 0, error.reply


def test_a_reset_while_connecting(stage: Stage) -> None:
    """Now and then connecting itself tells of it."""
    with RawServer(stage.behind["plain"], *[(cut,)] * 100) as server:
        given = stage.settings("plain", server.port)
        with Driver(given) as driver:
            for _ in range(100):
                with pytest.raises(QianfanTransientError, match=r"reset by peer|closed connection"):
                    driver.run(ask(given))


def test_a_server_that_does_not_read(stage: Stage) -> None:
    with (
        RawServer(stage.behind["plain"], (read_some, lambda _: time.sleep(20))) as server,
        SigningSession(stage.settings("plain", server.port)) as session,
        pytest.raises(NoAnswerError) as failure,
    ):
        session.post(MODEL_PATH, params={"Action": LIST}, data=bytes(32 * 1024 * 1024))

    assert failure.value.reply.sent


@pytest.mark.parametrize("name", SOME)
def test_the_test_of_a_connection(stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[name]
    with stage.play(row) as server:
        hook = QianfanHook()
        monkeypatch.setattr(hook, "_settings", stage.settings(row.way, server.port))
        began = time.monotonic()
        well, told = hook.test_connection()
        seconds = time.monotonic() - began
        wait_until(lambda: nothing_is_left(server.port))

        assert well is (row.error is None)
        assert told.isprintable()
        assert seconds < 5
        assert hook.test_connection()[0]
