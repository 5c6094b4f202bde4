"""Carries out exchanges: sends what they ask for, and sleeps. Loads ``urllib3``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.exchange import (
    Effect,
    NoResponse,
    Reply,
    Request,
    Response,
    Sleep,
    Steps,
    T,
)
from airflow_provider_qianfan.hooks._echo import blotted, sent_secrets
from airflow_provider_qianfan.hooks._wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.hooks._settings import Settings


class Driver:
    """
    Carries out the steps of exchanges, one after the other, in one thread at a time.

    :param sleep: pauses for the given number of seconds.
    """

    def __init__(self, settings: Settings, sleep: Callable[[float], object] = time.sleep) -> None:
        self.wire = Wire(settings)
        self._endpoint = settings.endpoint.url
        self._sleep = sleep

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def run(self, steps: Steps[T]) -> T:
        """Carry out ``steps``."""
        reply: Reply = None
        while True:
            try:
                effect: Effect = steps.send(reply)
            except StopIteration as finished:
                result: T = finished.value
                return result
            if isinstance(effect, Sleep):
                self._sleep(effect.seconds)
                reply = None
            else:
                reply = self._send(effect)

    def _send(self, request: Request) -> Reply:
        """Send a request unchanged: it has been checked and signed."""
        target = request.url.removeprefix(self._endpoint)
        length = str(len(request.body))
        headers = {**request.headers, "Accept-Encoding": "identity", "Content-Length": length}
        answer = self.wire.send(request.method, target, request.body, headers, send_by=request.send_by)
        if isinstance(answer, NoResponse):
            return answer
        raw, body = answer
        secrets = sent_secrets(request.headers, None)
        received = {name.lower(): blotted(raw.headers[name], secrets) for name in raw.headers}
        return Response(raw.status, received, blotted(body, secrets))
