"""The errors that an emulated action answers with."""

from __future__ import annotations


class ApiError(Exception):
    """
    An error answer of the platform API.

    Shape and codes: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq (section 错误码) and
    https://cloud.baidu.com/doc/qianfan/s/Pmh4sv5qa.

    :param http_status: HTTP status, 400 or above.
    :param code: the ``code`` of the answer.
    :param message: the ``message`` of the answer.
    :param in_headers: whether the headers of the answer also have code and message.
    """

    def __init__(self, http_status: int, code: str, message: str, in_headers: bool = False) -> None:
        super().__init__(f"{http_status} {code}: {message}")
        self.http_status = http_status
        self.code = code
        self.message = message
        self.in_headers = in_headers


def inappropriate_json(message: str) -> ApiError:
    """Return the documented error for valid JSON with a missing item or a wrong type."""
    return ApiError(400, "InappropriateJSON", message)


def refuse(switch: str, message: str) -> None:
    """
    Refuse a request, or accept it: the documentation leaves this open.

    :param switch: a value of :data:`.behaviour.Refusal`.
    :raises ApiError: unless the switch is ``accepted``.
    """
    if switch == "inappropriate_json":
        raise inappropriate_json(message)
    if switch == "precondition_failed":
        raise ApiError(412, "PreconditionFailed", message)


def not_found(switch: str, message: str) -> None:
    """
    Answer to an unknown id.

    :param switch: the ``not_found`` of :class:`.behaviour.Behaviour`.
    :raises ApiError: unless the switch is ``null_result``.
    """
    if switch == "no_such_key":
        raise ApiError(404, "NoSuchKey", message)
    if switch == "inappropriate_json":
        raise inappropriate_json(message)
    if switch == "internal_error":
        raise ApiError(500, "InternalError", "We encountered an internal error. Please try again.")
