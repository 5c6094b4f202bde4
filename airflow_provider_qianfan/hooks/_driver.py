"""Carries out exchanges: sends what they ask for, and sleeps. Loads ``requests``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import requests

from airflow_provider_qianfan.api.exchange import Effect, Reply, Request, Response, Sleep, Steps, T
from airflow_provider_qianfan.hooks._adapter import Adapter, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_qianfan.hooks._settings import Settings


class Driver:
    """
    Carries out the steps of exchanges, one after the other, in one thread at a time.

    :param sleep: pauses for the given number of seconds.
    """

    def __init__(self, settings: Settings, sleep: Callable[[float], object] = time.sleep) -> None:
        self.adapter = Adapter(settings)
        self._sleep = sleep

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.adapter.close()

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
        try:
            answer = self.adapter.send(_prepared(request), send_by=request.send_by)
        except NoAnswerError as error:
            return error.reply
        headers: Mapping[str, str] = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, answer.content)


def _prepared(request: Request) -> requests.PreparedRequest:
    """Take a request unchanged: it has been checked and signed."""
    prepared = requests.PreparedRequest()
    prepared.method, prepared.url, prepared.body = request.method, request.url, request.body
    prepared.headers = requests.structures.CaseInsensitiveDict(
        {**request.headers, "Accept-Encoding": "identity", "Content-Length": str(len(request.body))}
    )
    return prepared
