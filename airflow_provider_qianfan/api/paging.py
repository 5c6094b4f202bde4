"""
Reading a whole list, page by page, without trusting that it ends.

Documented: ``marker``, ``maxKeys`` (at most 100), ``isTruncated``, and ``nextMarker`` if there is more
(https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq). Not documented: the order, and whether the marker's
own row comes again. So rows may repeat, and their order means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanProtocolError, QianfanTransientError
from airflow_provider_qianfan.api.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_qianfan.api.exchange import Exchange, Steps

PAGE_SIZE = 100
"""The documented maximum of ``maxKeys``."""

MAX_PAGES = 1000
"""A longer list counts as one that never ends."""

MAX_LIST_BYTES = 64 * 1024 * 1024
"""Bytes of JSON in all pages together, by :func:`.reading.weight`. 1,000 full pages have about 60 MiB."""


class Scan:
    """
    One reading of a list from the first page to the last.

    :param exchange: the rules for talking to the platform.
    :param path: the path of the action, such as ``/v2/model``.
    :param action: the name of the list action.
    :param rows_key: the key of the rows in ``result``.
    :param body: filters, sent with every page. ``maxKeys`` is added if it is missing.
    :ivar finished: whether the last page has been read.
    :ivar pages: how many pages have been read.
    """

    def __init__(
        self, exchange: Exchange, path: str, action: str, rows_key: str, body: Mapping[str, Any] | None = None
    ) -> None:
        self._exchange = exchange
        self._path = path
        self._action = action
        self._rows_key = rows_key
        self._body: dict[str, Any] = {"maxKeys": PAGE_SIZE, **(body or {})}
        self._first_marker = self._body.get("marker")
        self.pages = 0
        self._bytes = 0
        self._markers: set[str] = set()
        self.finished = False
        self._ended = self._refused_at_end = False
        self._restarted = False

    def next_page(self, kept: dict[str, Any] | None = None) -> Steps[list[dict[str, Any]]]:
        """
        Read the next page.

        :param kept: what the caller made of the pages before. It is cleared if the reading begins again.
        :raises QianfanProtocolError: if the list contradicts its documentation or does not end.
        :raises QianfanTransientError: if the list changes so that no reading is complete.
        """
        read_before = self._exchange.bytes_read
        try:
            answer = yield from self._exchange.call(self._path, self._action, self._body)
        except QianfanAPIError as error:
            if error.code != "InvalidMarker" or not self._markers:
                raise
            if self._ended and self._refused_at_end:
                # For the second time, there is no page behind the one that claims to be the last.
                self.finished = True
                return []
            self._refused_at_end = self._ended
            return self._restart(kept, f"{error}")
        finally:
            self._bytes += self._exchange.bytes_read - read_before
        if self._bytes > MAX_LIST_BYTES:
            raise QianfanProtocolError(
                f"{self._action}: the list is longer than {MAX_LIST_BYTES} bytes on page {self.pages + 1}"
            )
        rows, page_info = self._read(answer)
        self.pages += 1
        again = self._advance(page_info, empty=not rows)
        return self._restart(kept, again) if again else rows

    def _restart(self, kept: dict[str, Any] | None, why: str) -> list[dict[str, Any]]:
        """
        Begin again, but only once.

        If the row of a marker is deleted, the platform refuses the marker. If rows change their places, a
        marker may come again.

        :param why: why this reading is not complete.
        :raises QianfanTransientError: if the reading has begun again before.
        """
        if self._restarted:
            raise QianfanTransientError(self._action, f"the list changed twice while it was read ({why})")
        self._restarted = True
        self._markers.clear()
        self._set_marker(self._first_marker)
        if kept is not None:
            kept.clear()
        return []

    def _read(self, answer: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
        result = answer.get("result")
        if not isinstance(result, dict):
            # Seen from gateways and from services that are starting: success, and nothing in it.
            raise QianfanTransientError(self._action, "the answer has no result object")
        page_info = result.get("pageInfo")
        if not isinstance(page_info, dict) or not isinstance(page_info.get("isTruncated"), bool):
            raise QianfanProtocolError(
                f"{self._action}: the answer does not say whether the list goes on (pageInfo.isTruncated):"
                f" {clean(page_info)}"
            )
        rows = result.get(self._rows_key)
        if rows is None and (others := sorted(key for key in result if isinstance(result[key], list))):
            there = ", ".join(clean(key, 80) for key in others[:5])
            raise QianfanProtocolError(f"{self._action}: there is no {self._rows_key}, but there is: {there}")
        if rows is None and (self._ended or not self._markers) and not page_info["isTruncated"]:
            rows = []  # some servers write an empty list so; in the middle of a list, it would hide rows
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise QianfanProtocolError(
                f"{self._action}: {self._rows_key} is not a list of objects: {clean(rows)}"
            )
        asked = self._body["maxKeys"]
        if isinstance(asked, int) and len(rows) > asked:
            raise QianfanProtocolError(
                f"{self._action}: the page has {len(rows)} rows, more than were asked for (maxKeys {asked})"
            )
        return rows, page_info

    def _advance(self, page_info: Mapping[str, Any], *, empty: bool) -> str:
        """Go on to the next page. If the marker leads back to an earlier page, return a reason to restart."""
        told = page_info.get("nextMarker")
        marker = told if isinstance(told, str) else ""
        read_before = marker in self._markers or marker == self._first_marker
        # The documentation says that the last page has no marker. If it has one, there may be more.
        self._ended = not page_info["isTruncated"]
        if self._ended and (empty or not marker or read_before):
            self.finished = True
            return ""
        if not marker:
            raise QianfanProtocolError(
                f"{self._action}: the list goes on, but there is no nextMarker: {clean(told)!r}"
            )
        if self.pages >= MAX_PAGES:
            raise QianfanProtocolError(f"{self._action}: the list has not ended after {self.pages} pages")
        if read_before:
            return f"marker {clean(marker)!r} comes again"
        self._markers.add(marker)
        self._set_marker(marker)
        return ""

    def _set_marker(self, marker: str | None) -> None:
        if marker is None:
            del self._body["marker"]
        else:
            self._body["marker"] = marker
