"""Drive steps by hand: answers are plain values, and pauses are only noted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.exchange import Reply, Request, Response, Sleep, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def answer(document: Any, status: int = 200, **headers: str) -> Response:
    """An answer in JSON."""
    kind = {"content-type": "application/json; charset=utf-8"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, kind | given, json.dumps(document).encode())


def error(status: int, code: str, message: str = "", **headers: str) -> Response:
    """An error in the documented form."""
    return answer({"requestId": "r-1", "code": code, "message": message}, status, **headers)


def page(status: int) -> Response:
    """A gateway's page."""
    return Response(status, {"content-type": "text/html"}, b"<html>\n<h1>Bad gateway</h1></html>")


class Drive:
    """
    The result of steps whose requests were answered in turn.

    :ivar requests: what was sent.
    :ivar slept: the pauses, in seconds.
    """

    def __init__(self, steps: Steps[Any], replies: Iterable[Reply] | Callable[[Request], Reply]) -> None:
        self.requests: list[Request] = []
        self.slept: list[float] = []
        self.result: Any = None
        self.error: Exception | None = None
        self._reply = replies if callable(replies) else self._in_turn(replies)
        try:
            self._drive(steps)
        except Exception as failure:
            self.error = failure

    @staticmethod
    def _in_turn(replies: Iterable[Reply]) -> Callable[[Request], Reply]:
        rest = iter(replies)
        return lambda _: next(rest)

    def _drive(self, steps: Steps[Any]) -> None:
        reply: Reply = None
        while True:
            try:
                effect = steps.send(reply)
            except StopIteration as finished:
                self.result = finished.value
                return
            if isinstance(effect, Sleep):
                self.slept.append(effect.seconds)
                reply = None
            else:
                self.requests.append(effect)
                reply = self._reply(effect)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests]
