"""The cost of signing one request: ours, Baidu's own SDK, and the two digests that signing needs at least."""

from __future__ import annotations

import hashlib
import hmac
import statistics
import timeit
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from baidubce.auth.bce_credentials import BceCredentials
from baidubce.auth.bce_v1_signer import sign

from airflow_provider_qianfan.api.signing import Credentials, authorization
from benchmarks.table import Result

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, SECRET = "a" * 32, "b" * 32
WHEN = datetime(2024, 12, 23, 8, tzinfo=UTC)
HEADERS = {"Host": "qianfan.baidubce.com", "x-bce-date": "2024-12-23T08:00:00Z"}
ACTION = ("Action", "DescribeModelCompTasks")
ROUNDS, REPEATS = 25, 4000

_ours = Credentials(KEY, SECRET)
_theirs = BceCredentials(KEY, SECRET)
_prefix = f"bce-auth-v1/{KEY}/2024-12-23T08:00:00Z/1800"
_request = (
    "POST\n/v2/model\nAction=DescribeModelCompTasks\n"
    "host:qianfan.baidubce.com\nx-bce-date:2024-12-23T08%3A00%3A00Z"
)


def ours() -> str:
    """Sign with our own code."""
    return authorization(_ours, method="POST", path="/v2/model", query=[ACTION], headers=HEADERS, when=WHEN)


def theirs() -> str:
    """Sign with the SDK."""
    signed: bytes = sign(
        _theirs,
        b"POST",
        b"/v2/model",
        {name.encode(): value.encode() for name, value in HEADERS.items()},
        {ACTION[0].encode(): ACTION[1].encode()},
        timestamp=int(WHEN.timestamp()),
        headers_to_sign={b"host", b"x-bce-date"},
    )
    return signed.decode()


def floor() -> str:
    """Make only the two digests, of prepared text."""
    key = hmac.digest(SECRET.encode(), _prefix.encode(), hashlib.sha256).hex()
    proof = hmac.digest(key.encode(), _request.encode(), hashlib.sha256).hex()
    return f"{_prefix}/host;x-bce-date/{proof}"


def run() -> list[Result]:
    """Time each of the three in turn."""
    # The SDK names the signed headers in any order; the last part is the proof.
    if len({sign_with().rpartition("/")[2] for sign_with in (ours, theirs, floor)}) != 1:
        raise SystemExit(f"Not the same signature: {ours()} {theirs()} {floor()}")
    took: dict[Callable[[], str], list[float]] = {ours: [], theirs: [], floor: []}
    for _ in range(ROUNDS):
        for one, samples in took.items():
            samples.append(timeit.timeit(one, number=REPEATS) / REPEATS * 1e6)
    mine, sdk, least = (statistics.median(samples) for samples in took.values())
    row, case = "one `Authorization` header", "`DescribeModelCompTasks`"
    return [
        Result(row, case, mine, "bce-python-sdk", sdk, "µs", "faster", mine < sdk),
        Result(row, case, mine, "two HMAC-SHA256 and nothing else (floor)", least, "µs"),
    ]
