"""Whatever bytes a server sends, a request ends soon, with a result or a named error, in plain text."""

from __future__ import annotations

import gzip
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import QianfanError
from tests.faults.raw import RawServer, agree, cut, end, read, read_some, say
from tests.faults.test_hostile import (
    LONGEST_TEXT,
    MOST_MIB,
    TIMEOUT,
    Seen,
    Stage,
    in_a_triggerer,
    in_a_worker,
    stage,
)
from tests.proof.record import record

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.faults.raw import Step

pytestmark = pytest.mark.faults

__all__ = ["stage"]

LATE = 2.0
"""Seconds by which a busy machine may be late."""

EMPTY = b'{"requestId":"r","result":{"modelCompTaskList":[],"pageInfo":{"isTruncated":false,"maxKeys":100}}}'
ODD = (
    *(b"", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\x00", b"\x1b[31m", b"\xff\xfe", b"\xe2\x80\xae"),
    *(b"-1", b"+14", b"0x10", b"1e3", b"1_0", b"14\x0b", b"\xd9\xa3", b"9" * 5000, b"x" * 70_000),
)
LINES = (
    *[b"HTTP/1.1 200 OK"] * 8,
    *(b"HTTP/1.1 %d X" % status for status in (100, 101, 103, 204, 206, 302, 304, 401, 429, 503)),
    *(b"HTTP/1.1 " + status for status in (b"200", b" 200 OK", b"2\xb2\xb20 OK", b"+200 OK", b"2_00 OK")),
    *(
        b"HTTP/1.0 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1\t200\tOK",
        b"HTTP/2 200",
        b"ICY 200 OK",
        b"HTTP/",
        b"",
    ),
)
NAMES = (b"Date", b"Retry-After", b"Location", b"Set-Cookie", b"X-Bce-Error-Code", b"X-Bce-Request-Id")
CODINGS = (b"gzip", b"br", b"zstd", b"deflate", b"identity", b"GZIP, br", b"chunked", b"\x1b[31m", b"x" * 300)
WHOLE = (b"Content-Length: %d" % len(EMPTY), b"Content-Type: application/json")


def header(chance: random.Random) -> bytes:
    odd = chance.choice(ODD)
    return chance.choice(
        [
            b"Content-Length: %d" % chance.choice([0, 1, len(EMPTY) - 1, len(EMPTY) + 1, 10**12]),
            b"Content-Length: " + odd,
            b"Content-Length : 5",
            b"Transfer-Encoding: " + chance.choice([b"chunked", b"Chunked", b" chunked ", *CODINGS]),
            b"Content-Encoding: " + chance.choice(CODINGS),
            b"Connection: " + chance.choice([b"close", b"keep-alive", b"upgrade", b"\xff"]),
            b"Content-Type: " + chance.choice([b"text/html\x1b[1m", b"; ; =;", b"a/b; charset=utf-16"]),
            chance.choice(NAMES) + b": " + odd,
            odd + b": x",
            b" folded" + odd,
            b"no colon" + odd,
            b"=?utf-8?b?////?=: =?x?q?\xff?=",
            b"\r\n".join(b"X-%d: y" % number for number in range(chance.choice([50, 99, 101, 5000]))),
        ]
    )


def body(chance: random.Random) -> bytes:
    found = chance.choice([EMPTY, EMPTY, b"", gzip.compress(EMPTY), EMPTY * 2, EMPTY[:40], b" " * 200_000])
    size = chance.choice([b"%x" % len(found), b"%x;" % len(found) + chance.choice(ODD), chance.choice(ODD)])
    last = chance.choice([b"0", b"0", b"000000", b"-0", b"+0", b"0_0", b""])
    chunked = size + b"\r\n" + found + b"\r\n" + last + b"\r\n\r\n"
    return chance.choice([found, found, chunked])


def answer(chance: random.Random) -> bytes:
    """Write an answer: a correct one, or one of odd parts."""
    if not chance.randrange(3):
        found = b"\r\n".join([LINES[0], *WHOLE]) + b"\r\n\r\n" + EMPTY
    else:
        line_end = chance.choice([*[b"\r\n"] * 5, b"\n", b"\r", b"\n\r"])
        headers = [header(chance) for _ in range(chance.randrange(6))]
        found = line_end.join([chance.choice(LINES), *headers]) + line_end * 2 + body(chance)
    for _ in range(chance.choice([0, 0, 1, 2])):
        at = chance.randrange(len(found) + 1)
        found = found[:at] + chance.choice(ODD) + found[at:]
    return found


def wait(_: socket.socket) -> None:
    time.sleep(0.02)


def script(chance: random.Random) -> list[Step]:
    """Make what the server does with one connection."""
    steps: list[Step] = [chance.choice([*[read] * 6, read_some])]
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        found = answer(chance)
        at = chance.randrange(len(found) + 1)
        steps += chance.choice([[say(found)], [say(found[:at]), wait, say(found[at:])]])
    return [*steps, chance.choice([end, end, cut, wait, read])]


def problems(seen: Seen, after: Any) -> list[str]:
    """Say what is wrong with how it ended."""
    found = []
    told = [str(each) for each in (seen.answer, after) if isinstance(each, QianfanError)]
    found += [f"not plain: {text!r}" for text in told if not text.isprintable() or len(text) > LONGEST_TEXT]
    if not isinstance(after, QianfanError | dict):
        found.append(f"no answer: {after!r}")
    if seen.seconds > TIMEOUT + LATE or seen.mib > MOST_MIB:
        found.append(f"{seen.seconds:.1f} s, {seen.mib:.1f} MiB")
    return found


@pytest.mark.parametrize("process", [in_a_worker, in_a_triggerer], ids=["worker", "triggerer"])
def test_hostile_bytes(
    request: pytest.FixtureRequest, stage: Stage, process: Callable[[Any], tuple[Seen, Any]]
) -> None:
    count, ends = Counter({"conversations": 0, "wrong": 0}), Counter[str]()
    try:
        for number in range(request.config.getoption("worlds") // 20):
            chance = random.Random(f"bytes {request.config.getoption('seed')} {number}")
            way = chance.choice(["plain", "plain", "tls"])
            steps = script(chance)
            if way == "tls":
                steps.insert(0, agree(stage.certificate, stage.key))
            with RawServer(stage.behind[way], steps) as server:
                found = problems(*(came := process(stage.settings(way, server.port))))
            count.update(conversations=1, wrong=len(found))
            ends[came[0].told] += 1
            assert not found, (number, found)
        assert len(ends) > 1
    finally:
        record(f"bytes-{process.__name__}", {**count, "ends": dict(ends)})
