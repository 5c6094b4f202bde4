"""
Errors in talking to the platform.

These are plain exceptions. So Airflow retries the task as its ``retries`` say, and ``soft_fail`` does not
turn an outage into a skipped deployment. No message ever holds a header, a signature or a key.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_qianfan.api.text import clean, sentence

LONGEST_RETRY_AFTER = 300.0
"""Seconds."""

AUTH_CODES = frozenset(
    {"SignatureDoesNotMatch", "InvalidHTTPAuthHeader", "InvalidAccessKeyId", "AccessDenied", "OptInRequired"}
)
"""Codes about the key, not about the request: https://cloud.baidu.com/doc/qianfan/s/Pmh4sv5qa."""

_ADVICE = {
    "SignatureDoesNotMatch": (
        "Check the connection's Secret Access Key (password): it must belong to its Access Key ID (login)."
    ),
    "InvalidHTTPAuthHeader": (
        "Check the connection's Access Key ID (login): an IAM user's, not the API key of an application."
    ),
    "InvalidAccessKeyId": (
        "Check the connection's Access Key ID (login): it is not known (deleted, disabled or mistyped)."
    ),
    "OptInRequired": "Open the Qianfan service for this account in the console.",
    "RequestExpired": "Correct the clock of the machine that runs this task.",
}

MODEL_PATH, SERVICE_PATH = "/v2/model", "/v2/service"
"""The paths of actions on tasks and model versions, and on services."""

_POLICIES = {
    MODEL_PATH: (
        "Attach QianfanModelTuningReadAccessPolicy (to look) or"
        " QianfanModelTuningFullControlAccessPolicy (to create, cancel, delete) to this key's user."
    ),
    SERVICE_PATH: (
        "Attach QianfanServiceReadAccessPolicy (to look at a service), QianfanServiceOperateAccessPolicy (to"
        " create and update, too) or QianfanFullControlAccessPolicy (to list, too) to this key's user."
    ),
}
"""The policies that a key may lack, by the path of the action."""


class QianfanError(Exception):
    """Something went wrong in talking to the Qianfan platform. The message is one or more sentences."""

    def __init__(self, message: object = "") -> None:
        super().__init__(sentence(str(message)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the error with its attributes: ``args`` holds only the message."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class QianfanAPIError(QianfanError):
    """
    The platform answered with an error: https://cloud.baidu.com/doc/qianfan/s/Pmh4sv5qa.

    :param action: the action that was called.
    :param code: the platform's error code, such as ``InappropriateJSON``.
    :param message: the platform's own words.
    :param request_id: the ID of the request. Baidu's support asks for it.
    :param http_status: the HTTP status. It is 200 for the legacy form of an error.
    :param path: the path of the action. It tells which policy the key may lack.
    :ivar clock_learned: whether this answer told the server's clock. If so, the same request may succeed once
        it is signed again.
    :ivar clock_jumped: whether our clock fell behind the server's since the last answer, as the clock of a
        suspended machine does.
    """

    clock_learned: bool = False
    clock_jumped: bool = False

    def __init__(
        self,
        action: str,
        *,
        code: str,
        message: str = "",
        request_id: str = "",
        http_status: int = 400,
        path: str = "",
    ) -> None:
        self.action = action
        self.code = clean(code, 80)
        self.message = clean(message)
        self.request_id = clean(request_id, 80)
        self.http_status = http_status
        advice = _POLICIES.get(path) if self.code == "AccessDenied" else _ADVICE.get(self.code)
        super().__init__(
            f"{action}: HTTP {http_status} {self._said()}"
            f" (request id {self.request_id or 'not given'})." + (f" {advice}" if advice else "")
        )

    def _said(self) -> str:
        if self.message.startswith(self.code):  # as some of the documented messages do
            return self.message
        return f"{self.code}: {self.message}" if self.message else self.code


class QianfanAuthError(QianfanAPIError):
    """The platform refuses the key: its signature, ID or permission, or the service is not opened."""


class QianfanRateLimitError(QianfanAPIError):
    """
    The platform asks for fewer requests (HTTP 429).

    :ivar retry_after: seconds to leave the platform alone; None if the platform does not say.
    """

    retry_after: float | None = None


class QianfanTransientError(QianfanError):
    """
    No usable answer this time: no connection, a timeout, HTTP 408 or 5xx, or a body that cannot be read.

    :param action: the action that was called.
    :param reason: what happened.
    :param sent: False if the request certainly never reached the platform.
    :param retry_after: seconds to leave the platform alone, from ``Retry-After``; None if the platform does
        not say.
    """

    def __init__(
        self, action: str, reason: str, *, sent: bool = True, retry_after: float | None = None
    ) -> None:
        self.action = action
        self.sent = sent
        self.retry_after = retry_after
        super().__init__(f"{action}: {clean(reason, 600)}")


class QianfanConfigurationError(QianfanError):
    """
    The way to the platform is set up wrongly, and waiting does not help. Nothing was sent.

    Examples: a proxy that cannot be used, a CA bundle that is missing or broken, a certificate that is
    refused.
    """


class QianfanProtocolError(QianfanError):
    """An answer that contradicts the documentation, such as a list that never ends."""


def is_transient(error: QianfanError) -> bool:
    """Tell whether waiting may help: the error says nothing about the request or the key."""
    return isinstance(error, QianfanTransientError | QianfanRateLimitError)


def refuses_request(error: QianfanError) -> bool:
    """
    Tell whether the platform refused what was asked for, and not the key, the rate or the clock.

    The documentation does not say how the platform refuses an unknown id. So such an error may mean that the
    id is unknown.
    """
    return (
        isinstance(error, QianfanAPIError)
        and not isinstance(error, QianfanAuthError | QianfanRateLimitError)
        and error.code != "RequestExpired"
    )


def retry_after(error: QianfanError) -> float:
    """Return for how many seconds to leave the platform alone: 0 if it does not say, 300 at most."""
    asked = error.retry_after if isinstance(error, QianfanTransientError | QianfanRateLimitError) else None
    return min(asked or 0.0, LONGEST_RETRY_AFTER)
