"""
Ask the real Qianfan, with your own key, and report what the documentation leaves open: ``make smoke-real``.

The script only reads. It lists model compression tasks, one row at a time, in both directions. It also asks
for a task that does not exist. It takes the key from QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY (an IAM Access
Key, see https://console.bce.baidu.com/iam/#/iam/accesslist), and for temporary keys also from
QIANFAN_SESSION_TOKEN. It does not print the key. QIANFAN_CONSOLE_API_BASE_URL may name another endpoint.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import MODEL_PATH, QianfanError
from airflow_provider_qianfan.api.exchange import DEFAULT_ENDPOINT, Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.model_compression import DETAIL, LIST, STATUSES, ModelCompTask
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.hooks._driver import Driver
from airflow_provider_qianfan.hooks._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

BOGUS_ID = "amva-000000000000"
ROWS = 5


def settings() -> Settings:
    """Read the environment. Refuse to go on without explicit credentials."""
    access_key, secret_key = os.environ.get("QIANFAN_ACCESS_KEY"), os.environ.get("QIANFAN_SECRET_KEY")
    if not access_key or not secret_key:
        raise SystemExit(
            "Set QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY to an IAM Access Key that may read model\n"
            "compression tasks (QianfanModelTuningReadAccessPolicy). Nothing was sent."
        )
    endpoint = os.environ.get("QIANFAN_CONSOLE_API_BASE_URL") or DEFAULT_ENDPOINT
    token = os.environ.get("QIANFAN_SESSION_TOKEN") or None
    return Settings(Endpoint.parse(endpoint), Credentials(access_key, secret_key, token))


class Platform:
    """Single calls, two tries each."""

    def __init__(self, given: Settings) -> None:
        self._driver = Driver(given)
        self._exchange = Exchange(given.endpoint, given.credentials, retry=RetryPolicy(tries=2))

    def call(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._driver.run(self._exchange.call(MODEL_PATH, action, body))

    def page(self, *, reverse: bool, marker: str | None = None) -> tuple[list[ModelCompTask], dict[str, Any]]:
        body = {"maxKeys": 1, "pageReverse": reverse} | ({"marker": marker} if marker else {})
        result = self.call(LIST, body).get("result") or {}
        rows = [ModelCompTask.parse(row) for row in result.get("modelCompTaskList") or []]
        return rows, result.get("pageInfo") or {}

    def pages(self, *, reverse: bool) -> Iterator[tuple[list[ModelCompTask], dict[str, Any]]]:
        marker = None
        for _ in range(ROWS):
            rows, info = self.page(reverse=reverse, marker=marker)
            yield rows, info
            marker = info.get("nextMarker")
            if not info.get("isTruncated") or not marker:
                return


def report(platform: Platform) -> Iterator[str]:
    """Say what was found out."""
    seen: list[ModelCompTask] = []
    for reverse in (False, True):
        pages = list(platform.pages(reverse=reverse))
        rows = [row for page, _ in pages for row in page]
        seen += rows
        yield f"pageReverse={str(reverse).lower()}: {len(pages)} pages of one row: {order(rows)}"
        yield f"  pageInfo keys: {', '.join(sorted({key for _, info in pages for key in info})) or 'none'}"
        yield f"  {marker_reading(pages)}"
    if not seen:
        yield "There are no tasks, so the rest stays open."
    else:
        keys = sorted({key for row in seen for key in row.json})
        unknown = sorted({clean(row.status, 40) for row in seen} - set(STATUSES))
        yield f"keys of a list row: {clean(', '.join(keys))}"
        yield f"undocumented statuses: {', '.join(unknown) or 'none seen'}"
        times = {clean(row.json.get(key), 40) for row in seen for key in ("createTime", "finishTime")}
        yield f"times: {', '.join(sorted(times))}"
        undated = sum(row.create_time is None for row in seen)
        yield f"tasks without a usable createTime: {undated} of {len(seen)}"
    try:
        answer = platform.call(DETAIL, {"modelCompTaskId": BOGUS_ID})
        yield f"{DETAIL} of an unknown id: a success, with {clean(answer.get('result'))!r}"
    except QianfanError as error:
        yield f"{DETAIL} of an unknown id: {error}"


def order(rows: list[ModelCompTask]) -> str:
    """Say in which order the rows came."""
    times = [row.create_time for row in rows if row.create_time]
    if len(times) < 2 or len(times) < len(rows):
        return "too few dated rows to tell their order"
    if times == sorted(times):
        return "oldest first"
    return "newest first" if times == sorted(times, reverse=True) else "in no order of createTime"


def marker_reading(pages: list[tuple[list[ModelCompTask], dict[str, Any]]]) -> str:
    """Say which row a marker names."""
    if len(pages) < 2 or not pages[0][0] or not pages[1][0]:
        return "marker: too few rows to tell"
    marker, first, second = pages[0][1].get("nextMarker"), pages[0][0][-1].id, pages[1][0][0].id
    if marker == second == first:
        return "marker: the last row, and it comes again (overlapping)"
    if marker == second:
        return "marker: the first row of the next page (inclusive)"
    return f"marker: {'the last row of this page (exclusive)' if marker == first else 'neither of the rows'}"


def main() -> int:
    """Run the smoke test."""
    given = settings()
    print(f"Asking {given.endpoint.url}; only reading.")
    try:
        for line in report(Platform(given)):
            print(line)
    except QianfanError as error:
        print(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
