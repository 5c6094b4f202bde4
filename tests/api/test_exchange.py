from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest

from airflow_provider_qianfan import __version__
from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
    retry_after,
)
from airflow_provider_qianfan.api.exchange import (
    _JUMP,
    Endpoint,
    Exchange,
    NoResponse,
    Reply,
    Request,
    Response,
    RetryPolicy,
    Sending,
)
from airflow_provider_qianfan.api.reading import weight
from airflow_provider_qianfan.api.signing import EXPIRES_IN, Credentials, authorization
from tests.api.steps import Drive, answer, error, page

NOW = datetime(2024, 12, 23, 8, tzinfo=UTC)
GOOD = answer({"requestId": "r", "result": {}})
ACTION = "DescribeModelCompTasks"
SECRET = "the-secret-access-key"
TOKEN = "the-session-token"


def exchange(*, token: str | None = None, **arguments: Any) -> Exchange:
    return Exchange(
        Endpoint.parse("https://qianfan.baidubce.com"),
        Credentials("ALTAK", SECRET, token),
        clock=lambda: NOW,
        jitter=lambda: 1.0,
        **arguments,
    )


def call(*replies: Reply, action: str = ACTION, repeatable: bool | None = None, **arguments: Any) -> Drive:
    return Drive(exchange(**arguments).call("/v2/model", action, {"a": "千"}, repeatable=repeatable), replies)


def test_a_request_is_signed_and_says_who_we_are() -> None:
    (request,) = call(GOOD).requests

    assert request.method == "POST"
    assert request.url == "https://qianfan.baidubce.com/v2/model?Action=DescribeModelCompTasks"
    assert json.loads(request.body) == {"a": "千"}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == f"airflow-provider-qianfan/{__version__}"
    assert request.headers["Host"] == "qianfan.baidubce.com"
    assert request.headers["x-bce-date"] == "2024-12-23T08:00:00Z"
    assert request.headers["Authorization"].startswith(
        "bce-auth-v1/ALTAK/2024-12-23T08:00:00Z/1800/host;x-bce-date/"
    )


def test_a_session_token_is_sent_and_signed() -> None:
    (request,) = call(GOOD, token=TOKEN).requests

    assert request.headers["x-bce-security-token"] == TOKEN
    assert "/host;x-bce-date;x-bce-security-token/" in request.headers["Authorization"]


def test_a_request_does_not_show_its_headers() -> None:
    (request,) = call(GOOD, token=TOKEN).requests

    assert TOKEN not in repr(request)
    assert "bce-auth-v1" not in repr(request)


TRANSIENT = {
    "408": page(408),
    "429": error(429, "Throttled"),
    "429 without JSON": page(429),
    "500 documented": error(500, "InternalError"),
    "502 with a page": page(502),
    "503": error(503, "ServiceUnavailable"),
    "200 with a page": page(200),
    "200 cut": Response(200, {}, b'{"requestId": "r", "res'),
    "200 empty": Response(200, {}, b""),
    "200 with a list": answer([]),
    "200 with NaN": Response(200, {}, b'{"result": NaN}'),
    "200 nested without end": Response(200, {}, b"[" * 100_000),
    "200 with a lone surrogate": Response(200, {}, rb'{"result": "\ud800"}'),
    "200 in the legacy form, 18": answer(
        {"error_code": 18, "error_msg": "Open api qps request limit reached"}
    ),
    "200 in the legacy form, 336100": answer({"error_code": 336100, "error_msg": "try again"}),
    "200 in the legacy form, 500000 as text": answer({"error_code": "500000", "error_msg": "internal"}),
    "404 with a gateway's page": page(404),
    "403 with a gateway's page": page(403),
    "no answer": NoResponse("ReadTimeout", sent=True),
    "no connection": NoResponse("ConnectError", sent=False),
}


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT)
def test_what_may_pass_is_tried_again(reply: Reply) -> None:
    drive = call(reply, reply, reply, GOOD)

    assert drive.result == {"requestId": "r", "result": {}}
    assert drive.slept == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT)
def test_after_four_tries_it_is_given_up(reply: Reply) -> None:
    drive = call(reply, reply, reply, reply)

    assert isinstance(drive.error, QianfanTransientError | QianfanRateLimitError)
    assert len(drive.requests) == 4


FINAL = {
    "SignatureDoesNotMatch": (error(400, "SignatureDoesNotMatch"), QianfanAuthError),
    "InvalidHTTPAuthHeader": (error(400, "InvalidHTTPAuthHeader"), QianfanAuthError),
    "InvalidAccessKeyId": (error(403, "InvalidAccessKeyId"), QianfanAuthError),
    "AccessDenied": (error(403, "AccessDenied"), QianfanAuthError),
    "OptInRequired": (error(403, "OptInRequired"), QianfanAuthError),
    "401 of any code": (error(401, "Unauthorized"), QianfanAuthError),
    "code only in the gateway's header": (
        Response(403, {"x-bce-error-code": "AccessDenied", "x-bce-error-message": "no"}, b"<html>"),
        QianfanAuthError,
    ),
    "400 of another code": (error(400, "InappropriateJSON"), QianfanAPIError),
    "404 documented": (error(404, "NoSuchKey"), QianfanAPIError),
    "200 with a code": (error(200, "InappropriateJSON"), QianfanAPIError),
    "200 in the legacy form": (answer({"error_code": 6, "error_msg": "No permission"}), QianfanAPIError),
    "200 in the legacy form, as text": (answer({"error_code": "336000"}), QianfanAPIError),
    "400 in the legacy form": (answer({"error_code": 18, "error_msg": "limit"}, 400), QianfanAPIError),
    "200 with a code that the legacy form has": (error(200, "18"), QianfanAPIError),
    "a redirect": (Response(302, {"location": "https://elsewhere"}, b""), QianfanProtocolError),
}


@pytest.mark.parametrize(("reply", "kind"), FINAL.values(), ids=FINAL)
def test_what_will_not_pass_is_not_tried_again(reply: Reply, kind: type[QianfanError]) -> None:
    drive = call(reply)

    assert type(drive.error) is kind
    assert drive.slept == []


def test_an_api_error_carries_what_support_asks_for() -> None:
    failure = call(error(400, "InappropriateJSON", "wrong\ntype")).error

    assert isinstance(failure, QianfanAPIError)
    assert (failure.code, failure.message, failure.request_id, failure.http_status, failure.action) == (
        "InappropriateJSON",
        r"wrong\ntype",
        "r-1",
        400,
        ACTION,
    )


def test_no_error_holds_a_secret() -> None:
    for reply in [*TRANSIENT.values(), *(reply for reply, _ in FINAL.values())]:
        shown = repr(call(*[reply] * 4, token=TOKEN).error)
        assert not any(secret in shown for secret in (SECRET, TOKEN, "bce-auth-v1", "host;x-bce-date"))


@pytest.mark.parametrize(
    ("value", "slept"),
    [
        ("7", [8.0]),
        ("Mon, 23 Dec 2024 08:00:40 GMT", [41.0]),
        ("4000", [301.0]),  # no longer than this
        ("0", [1.0]),
        ("soon", [1.0]),
        ("9" * 500, [301.0]),
        # Beyond the calendar in UTC: as if it were not there.
        ("Fri, 31 Dec 9999 23:59:59 -0100", [1.0]),
        ("Mon, 01 Jan 0001 00:00:00 +0100", [1.0]),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(status: int, value: str, slept: list[float]) -> None:
    assert call(error(status, "Busy", retry_after=value), GOOD).slept == slept


@pytest.mark.parametrize("code", [18, "18"])
def test_the_legacy_rate_limit_is_one(code: object) -> None:
    drive = call(answer({"error_code": code, "error_msg": "limit"}, retry_after="7"), GOOD)

    assert drive.result
    assert drive.slept == [8.0]

    drive = call(*[answer({"error_code": code, "error_msg": "limit", "log_id": "l-1"})] * 4)

    assert isinstance(drive.error, QianfanRateLimitError)
    assert str(drive.error) == f"{ACTION}: HTTP 200 18: limit (request id l-1)."


ABSURD = [
    "Fri, 31 Dec 9999 23:59:59 -0100",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 +0100",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Tue, 24 Dec 2024 08:00:01 GMT",
    "Sun, 22 Dec 2024 07:59:59 GMT",
    "\x00",
]


@pytest.mark.parametrize("date", ABSURD)
def test_an_absurd_date_counts_as_none(date: str) -> None:
    talk = exchange()

    def say(*replies: Reply) -> Drive:
        return Drive(talk.call("/v2/model", ACTION), replies)

    assert say(answer({"result": {}}, date=date)).result
    expired = say(error(400, "RequestExpired", date=date))
    assert isinstance(expired.error, QianfanAPIError)
    assert "Correct the clock" in str(expired.error)
    assert talk.server_ahead == timedelta()
    assert say(GOOD).requests[0].headers["x-bce-date"] == "2024-12-23T08:00:00Z"


@pytest.mark.parametrize("hours", [-24, 24])
def test_a_server_is_believed_within_a_day(hours: int) -> None:
    date = f"{NOW + timedelta(hours=hours):%a, %d %b %Y %H:%M:%S} GMT"
    drive = call(error(400, "RequestExpired", date=date), GOOD)

    assert drive.result
    assert drive.requests[1].headers["x-bce-date"] == f"2024-12-{23 + hours // 24}T08:00:00Z"


def test_a_retry_after_date_is_of_the_servers_clock() -> None:
    busy = error(
        429, "Busy", retry_after="Mon, 23 Dec 2024 09:00:05 GMT", date="Mon, 23 Dec 2024 09:00:00 GMT"
    )

    assert call(busy, GOOD).slept == [6.0]


def test_a_pause_beyond_the_callers_patience_is_not_slept() -> None:
    drive = call(error(429, "Busy", retry_after="31"), retry=RetryPolicy(patience=30))

    assert drive.slept == []
    assert isinstance(drive.error, QianfanRateLimitError)
    assert retry_after(drive.error) == 31.0


@pytest.mark.parametrize(
    ("attempt", "asked", "jitter", "pause"),
    [
        (1, None, 1.0, 1.0),
        (1, None, 0.25, 0.25),  # full jitter
        (2, None, 1.0, 2.0),
        (6, None, 1.0, 30.0),  # the cap
        (9, None, 1.0, 30.0),
        (1, 12.0, 0.0, 12.0),
        (3, 12.0, 0.5, 14.0),  # those who are refused together part
        (10, None, 1.0, None),
    ],
)
def test_retry_policy(attempt: int, asked: float | None, jitter: float, pause: float | None) -> None:
    assert RetryPolicy(tries=10).pause(attempt, asked, jitter, NOW) == pause


@pytest.mark.parametrize(("left", "pause"), [(6, 6.0), (5, None)])
def test_no_pause_goes_beyond_the_callers_deadline(left: float, pause: float | None) -> None:
    assert RetryPolicy(until=NOW + timedelta(seconds=left)).pause(1, 5.0, 1.0, NOW) == pause


def test_a_pause_may_be_as_long_as_the_patience() -> None:
    assert RetryPolicy(patience=5.0).pause(1, 5.0, 0.0, NOW) == 5.0
    assert RetryPolicy(patience=5.0).pause(1, 5.1, 0.0, NOW) is None


def test_a_pause_ends_by_our_clock() -> None:
    assert exchange(retry=RetryPolicy(until=NOW + timedelta(seconds=9))).pause_after(BUSY, 1) == 9.0
    assert exchange(retry=RetryPolicy(until=NOW + timedelta(seconds=8))).pause_after(BUSY, 1) is None


@pytest.mark.parametrize(("seconds", "jumped"), [(0, False), (1, True), (-1, False)])
def test_a_clock_that_jumps(seconds: int, jumped: bool) -> None:
    talk = exchange()
    later = format_datetime(NOW + timedelta(seconds=_JUMP.total_seconds() + seconds), usegmt=True)
    expired = error(400, "RequestExpired", date=later)

    Drive(talk.call("/v2/model", ACTION), [answer({}, date=format_datetime(NOW, usegmt=True))])
    drive = Drive(talk.call("/v2/model", ACTION, sending=ONCE), [expired])

    assert isinstance(drive.error, QianfanAPIError)
    assert drive.error.clock_jumped is jumped


HEADERS = {"x-bce-error-code": "InappropriateJSON", "x-bce-error-message": "no", "content-type": "text/html"}


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Response(400, HEADERS, b"<html>"), "HTTP 400 InappropriateJSON: no (request id not given)"),
        (Response(403, HEADERS, b""), "HTTP 403 InappropriateJSON: no (request id not given)"),
        (answer({"code": "X"}, 400, x_bce_error_message="no"), "HTTP 400 X: no (request id not given)"),
        (answer({"code": "X"}, 400, x_bce_request_id="r-3"), "HTTP 400 X (request id r-3)"),
        (answer({"error_code": 336000}), "HTTP 200 336000 (request id not given)"),
        (error(403, "AccessDenied"), "HTTP 403 AccessDenied (request id r-1). Attach QianfanModelTuning"),
        (Response(500, {}, b" " * 400 + b"x"), "HTTP 500 (no content type, 401 bytes):."),
    ],
)
def test_what_is_told_of_an_error(reply: Reply, told: str) -> None:
    drive = call(reply, retry=RetryPolicy(tries=1))

    assert told in str(drive.error)


def test_a_header_about_an_error_means_nothing_beside_a_success() -> None:
    reply = answer({"requestId": "r", "result": {}}, x_bce_error_code="AccessDenied")

    assert call(reply).result == {"requestId": "r", "result": {}}


def test_only_the_first_request_begins_after_the_callers_deadline() -> None:
    talk = exchange(retry=RetryPolicy(until=NOW - timedelta(seconds=1)))

    assert Drive(talk.call("/v2/model", ACTION), [GOOD]).result
    later = Drive(talk.call("/v2/model", ACTION), [GOOD])

    assert "the time is up" in str(later.error)
    assert later.requests == []


def test_an_expired_request_is_signed_again_at_once_with_the_servers_clock() -> None:
    talk = exchange()
    expired = error(400, "RequestExpired", date="Mon, 23 Dec 2024 08:20:00 GMT")
    drive = Drive(talk.call("/v2/model", ACTION), [expired, GOOD])

    assert drive.result
    assert drive.slept == []
    assert drive.requests[1].headers["x-bce-date"] == "2024-12-23T08:20:00Z"
    # What was learned stays: the next call need not fail first.
    assert Drive(talk.call("/v2/model", ACTION), [GOOD]).requests[0].headers["x-bce-date"] == (
        "2024-12-23T08:20:00Z"
    )


@pytest.mark.parametrize(
    "replies",
    [
        [error(400, "RequestExpired", date="Mon, 23 Dec 2024 08:20:00 GMT")] * 2,
        [error(400, "RequestExpired")],  # and no clock to go by
    ],
)
def test_a_request_that_stays_expired_fails(replies: list[Reply]) -> None:
    drive = call(*replies)

    assert isinstance(drive.error, QianfanAPIError)
    assert "clock" in str(drive.error)
    assert len(drive.requests) == len(replies)


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        pytest.param(NoResponse("ReadTimeout", sent=True), 1, id="the answer was lost"),
        pytest.param(page(502), 1, id="a gateway's error"),
        pytest.param(error(500, "InternalError"), 1, id="an error of its own"),
        pytest.param(answer({"error_code": 336100}), 1, id="high load, in the legacy form"),
        pytest.param(answer({"error_code": 500000}), 1, id="an error of the console, in the legacy form"),
        pytest.param(Response(200, {}, rb'{"result": "\ud800"}'), 1, id="an unreadable answer"),
        pytest.param(answer({"error_code": 18}), 2, id="turned away, in the legacy form"),
        pytest.param(NoResponse("ConnectError", sent=False), 2, id="never sent"),
        pytest.param(error(429, "Busy"), 2, id="turned away"),
    ],
)
def test_a_change_is_repeated_only_if_it_did_not_arrive(reply: Reply, requests: int) -> None:
    drive = call(reply, GOOD, action="CreateModelCompTask")

    assert len(drive.requests) == requests
    if requests == 1:
        assert "look before you repeat it" in str(drive.error)
        assert str(drive.error).count("CreateModelCompTask: ") == 1


def test_a_lost_answer_keeps_the_pause_that_the_server_asks_for() -> None:
    drive = call(error(503, "Busy", retry_after="7"), action="CreateModelCompTask")

    assert isinstance(drive.error, QianfanTransientError)
    assert (drive.error.action, drive.error.retry_after) == ("CreateModelCompTask", 7.0)
    assert str(drive.error).startswith("CreateModelCompTask: HTTP 503 Busy (request id r-1). It is not known")


def test_a_caller_may_say_that_a_change_is_repeatable() -> None:
    assert call(page(502), GOOD, action="ModifyService", repeatable=True).result


ONCE = Sending(send_by=1_734_940_805.0, expires_in=42)


@pytest.mark.parametrize("reply", [*TRANSIENT.values(), *(reply for reply, _ in FINAL.values())])
def test_what_is_to_be_sent_once_is_sent_once(reply: Reply) -> None:
    drive = Drive(exchange().call("/v2/model", "CreateModelCompTask", {}, sending=ONCE), [reply])

    (request,) = drive.requests
    assert isinstance(drive.error, QianfanError)
    assert "look before you repeat it" not in str(drive.error)  # the caller does
    assert drive.slept == []
    assert request.send_by == ONCE.send_by
    assert "/2024-12-23T08:00:00Z/42/" in request.headers["Authorization"]


def test_other_requests_may_leave_at_any_time() -> None:
    (request,) = call(GOOD, action="CreateModelCompTask").requests

    assert request.send_by is None


BUSY = QianfanRateLimitError(ACTION, code="Busy")
BUSY.retry_after = 8.0


@pytest.mark.parametrize(
    ("failure", "attempt", "pause"),
    [
        (BUSY, 1, 9.0),
        (BUSY, 4, None),
        (QianfanTransientError(ACTION, "r", sent=False), 1, 1.0),
        (QianfanTransientError(ACTION, "r", sent=False, retry_after=9.0), 3, 13.0),
        (QianfanTransientError(ACTION, "r", sent=False), 4, None),
        (QianfanAPIError(ACTION, code="InappropriateJSON"), 1, None),
        (QianfanAPIError(ACTION, code="RequestExpired"), 1, None),
        (QianfanConfigurationError("no such bundle"), 1, None),
    ],
)
def test_the_pause_after_a_try(failure: QianfanError, attempt: int, pause: float | None) -> None:
    assert exchange().pause_after(failure, attempt) == pause


@pytest.mark.parametrize(("tries", "pauses"), [(1, [0.0, None]), (4, [0.0, 0.0, 0.0, None])])
def test_a_refusal_that_teaches_the_time_may_be_sent_again_at_once(
    tries: int, pauses: list[float | None]
) -> None:
    talk = exchange(retry=RetryPolicy(tries=tries))
    expired = error(400, "RequestExpired", date="Mon, 23 Dec 2024 08:20:00 GMT")
    drive = Drive(talk.call("/v2/model", "CreateModelCompTask", sending=ONCE), [expired])

    assert isinstance(drive.error, QianfanAPIError)
    assert [talk.pause_after(drive.error, number + 1) for number in range(len(pauses))] == pauses
    assert talk.server_ahead == timedelta(minutes=20)


@pytest.mark.parametrize("body", [{"a": Decimal(1)}, {"a": float("nan")}, {"a": NOW}, {1: 2}, {"a": b"b"}])
@pytest.mark.parametrize("action", [ACTION, "CreateModelCompTask"])
def test_what_json_cannot_hold_is_not_sent(body: Any, action: str) -> None:
    drive = Drive(exchange().call("/v2/model", action, body), [])

    assert type(drive.error) is ValueError
    assert str(drive.error).startswith("body")
    assert drive.requests == []


def test_each_attempt_is_signed_anew() -> None:
    time = [NOW]

    def lose_five_minutes(_: Request) -> Reply:
        time.append(time[-1] + timedelta(minutes=5))
        return GOOD if len(time) > 2 else NoResponse("ReadTimeout", sent=True)

    talk = Exchange(
        Endpoint.parse("https://h"), Credentials("a", "b"), clock=lambda: time[-1], jitter=lambda: 0.0
    )
    drive = Drive(talk.call("/v2/model", ACTION), lose_five_minutes)

    assert [request.headers["x-bce-date"] for request in drive.requests] == [
        "2024-12-23T08:00:00Z",
        "2024-12-23T08:05:00Z",
    ]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://qianfan.baidubce.com", "https://qianfan.baidubce.com"),
        ("qianfan.baidubce.com", "https://qianfan.baidubce.com"),
        ("https://qianfan.baidubce.com:443/", "https://qianfan.baidubce.com"),
        ("https://gateway:8443", "https://gateway:8443"),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
        ("http://localhost", "http://localhost"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://[::1]:8787", "http://[::1]:8787"),
        ("http://127.8.9.1", "http://127.8.9.1"),
    ],
)
def test_endpoints(text: str, url: str) -> None:
    assert Endpoint.parse(text).url == url


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://qianfan.baidubce.com", "Use https"),
        ("http://127.0.0.1.example.com", "Use https"),
        ("http://10.0.0.1", "Use https"),
        ("ftp://qianfan.baidubce.com", "Write it as"),
        ("https://", "Write it as"),
        ("https://h:99999", "port"),
        ("https://h:x", "port"),
        ("https://user:hu3sh@h", "leave out"),
        ("user:hu3sh@h", "leave out"),
        ("https://user:hu3sh@h:99999", "leave out"),
        ("ftp://user:hu3sh@h", "leave out"),
        ("https://user:hu3sh@[::1", "leave out"),
        ("https://user:hu3sh@h\u2100", "leave out"),
        ("https://[::1", "Write it as"),
        ("https://user:hu3sh\uff20h", "Write it as"),  # as a Chinese keyboard writes it
        ("https://user:hu3sh%40h", "port"),
        ("AK:hu3sh", "port"),
        ("https://[user:hu3sh]h", "Write it as"),
        ("https://h:abc?token=hu3sh", "port"),
        ("ftp://x?password=hu3sh", "Write it as"),
        ("https://hu3sh" + "x" * 99, "host"),
        ("https://h\u2100", "Write it as"),
        ("https://[::1%\u00e9]", "host"),
        ("https://h/v2/model", "leave out"),
        ("https://h/X", "leave out"),
        ("https://h?a=b", "leave out"),
    ],
)
def test_what_is_no_endpoint(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        Endpoint.parse(text)
    assert "hu3sh" not in str(refused.value)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Response(502, {}, b""), "HTTP 502 (no content type, empty)."),
        (Response(502, {"content-type": "text/html"}, b""), "HTTP 502 (text/html, empty)."),
        (
            Response(502, {"content-type": "t" * 70}, b"<h1>\n" + b"x" * 500),
            f"HTTP 502 ({'t' * 60}…, 505 bytes): <h1> {'x' * 115}…",
        ),
        (Response(502, {}, "é\x1b".encode() + b"\xff"), "HTTP 502 (no content type, 4 bytes): é\\x1b\ufffd."),
    ],
)
def test_an_answer_that_is_no_json_is_told_by_its_start(reply: Reply, told: str) -> None:
    assert str(call(*[reply] * 4).error) == f"{ACTION}: {told}"


@pytest.mark.parametrize(
    ("reply", "told", "request_id"),
    [
        (error(429, "Busy", "too many"), "HTTP 429 Busy: too many (request id r-1)", "r-1"),
        (answer({"requestId": "r-2"}, 429), "HTTP 429 TooManyRequests (request id r-2)", "r-2"),
        (answer({"log_id": 3}, 429), "HTTP 429 TooManyRequests (request id 3)", "3"),
        (
            Response(429, {"x-bce-request-id": "r-4"}, b"slow down"),
            "HTTP 429 TooManyRequests (request id r-4)",
            "r-4",
        ),
    ],
)
def test_too_many_requests_in_every_form(reply: Reply, told: str, request_id: str) -> None:
    drive = call(*[reply] * 4)

    assert isinstance(drive.error, QianfanRateLimitError)
    assert str(drive.error).startswith(f"{ACTION}: {told}")
    assert drive.error.request_id == request_id


def test_a_request_is_signed_as_it_is_sent() -> None:
    (request,) = call(GOOD, token=TOKEN).requests
    headers = dict(request.headers)
    signed = {name: headers[name] for name in ("Host", "x-bce-date", "x-bce-security-token")}

    assert headers.pop("Authorization") == authorization(
        Credentials("ALTAK", SECRET, TOKEN),
        method="POST",
        path="/v2/model",
        query=[("Action", ACTION)],
        headers=signed,
        when=NOW,
        expires_in=EXPIRES_IN,
    )
    assert headers.keys() - signed.keys() == {"Accept", "Content-Type", "User-Agent"}
    assert headers["Accept"] == headers["Content-Type"] == "application/json"


def test_requests_keep_a_pace() -> None:
    waits = iter([2.0, 1.0, 0.0, 0.0])
    talk = exchange(pace=lambda: next(waits))

    assert Drive(talk.call("/v2/model", ACTION), [GOOD]).slept == [2.0, 1.0]
    assert Drive(talk.call("/v2/model", ACTION), [GOOD]).slept == []


def test_an_exchange_counts_what_it_has_read() -> None:
    talk = exchange()
    assert talk.bytes_read == 0

    assert isinstance(GOOD, Response)
    Drive(talk.call("/v2/model", ACTION), [GOOD])
    assert talk.bytes_read == weight(GOOD.body)


@pytest.mark.parametrize(("late", "sent"), [(0, True), (1, False)])
def test_a_later_request_may_begin_at_the_deadline(late: float, sent: bool) -> None:
    talk = exchange(retry=RetryPolicy(until=NOW - timedelta(seconds=late)))
    Drive(talk.call("/v2/model", ACTION), [GOOD])
    later = Drive(talk.call("/v2/model", ACTION), [GOOD])

    assert bool(later.requests) is sent
    if not sent:
        assert isinstance(later.error, QianfanTransientError)
        assert (later.error.action, later.error.sent) == (ACTION, False)
        assert str(later.error) == f"{ACTION}: no further request is sent: the time is up."


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (NoResponse("no bundle", sent=False, permanent=True), QianfanConfigurationError, "no bundle."),
        (NoResponse("no way", sent=False), QianfanTransientError, f"{ACTION}: no way."),
        (Response(300, {}, b""), QianfanProtocolError, "to 'nowhere'."),
        (Response(302, {"location": "https://else"}, b""), QianfanProtocolError, "to 'https://else'."),
        (Response(399, {}, b""), QianfanProtocolError, "to 'nowhere'."),
        (Response(400, {}, b""), QianfanTransientError, "HTTP 400 with an unreadable answer: "),
        (Response(199, {}, b"{}"), QianfanTransientError, "HTTP 199 with an unreadable answer: "),
        (answer({"requestId": "r"}, 400), QianfanTransientError, "HTTP 400 with an unreadable answer: ("),
        (answer({"requestId": "r"}, 409), QianfanTransientError, "HTTP 409 with an unreadable answer: ("),
        (answer({"requestId": "r"}, 408), QianfanTransientError, "HTTP 408 (application/json"),
    ],
)
def test_what_is_told_of_no_answer(reply: Reply, kind: type[QianfanError], told: str) -> None:
    drive = call(reply, retry=RetryPolicy(tries=1))

    assert type(drive.error) is kind
    assert told in str(drive.error)


def test_an_unreadable_answer_may_say_when_to_come_back() -> None:
    drive = call(Response(404, {"retry-after": "7"}, b"<html>"), retry=RetryPolicy(tries=1))

    assert isinstance(drive.error, QianfanTransientError)
    assert drive.error.retry_after == 7.0


def test_a_driver_that_does_not_answer_is_a_defect() -> None:
    drive = call(None)

    assert type(drive.error) is TypeError
    assert str(drive.error) == "A driver must answer a request with a response, not None."
