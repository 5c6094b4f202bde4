from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from airflow_provider_qianfan.emulator.behaviour import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Account
from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.signature import (
    Signed,
    canonical_query,
    canonical_request,
    sign,
    verify,
)
from tests.emulator.client import Client, error

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World

LETTERS = Account(access_key_id="a" * 32, secret_access_key="b" * 32)
OLD = Account(
    access_key_id="0b0f67dfb88244b289b72b142befad0c", secret_access_key="bad522c2126a4618a8125f4b6cf6356f"
)


def upload(md5: str, query: str) -> Signed:
    return Signed(
        method="PUT",
        path="/v1/test/myfolder/readme.txt",
        query=query,
        headers=(
            ("Host", "bj.bcebos.com"),
            ("Date", "Mon, 27 Apr 2015 16:23:49 +0800"),
            ("Content-Type", "text/plain"),
            ("Content-Length", "8"),
            ("Content-Md5", md5),
            ("x-bce-date", "2015-04-27T08:23:49Z"),
        ),
    )


def listing(*more: tuple[str, str]) -> Signed:
    headers = (("Host", "qianfan.baidubce.com"), ("x-bce-date", "2024-12-23T08:00:00Z"), *more)
    return Signed(method="POST", path="/v2/model", query="Action=DescribeModelCompTasks", headers=headers)


def authorized(request: Signed, value: str) -> Signed:
    return replace(request, headers=(*request.headers, ("Authorization", value)))


NEW_MD5 = "NFzcPqhviddjRNnSOGo4rw=="
NEW_QUERY = "partNumber=9&uploadId=a44cc9bab11cbd156984767aad637851"
NEW_SIGNATURE = "d74a04362e6a848f5b39b15421cb449427f419c95a480fd6b8cf9fc783e2999e"
ALL_NAMES = "content-length;content-md5;content-type;host;x-bce-date"

# Official examples first, then Qianfan-shaped ones that the official SDK reproduces.
VECTORS = [
    pytest.param(
        LETTERS, upload(NEW_MD5, NEW_QUERY), "2015-04-27T08:23:49Z", "", NEW_SIGNATURE, id="default set"
    ),
    pytest.param(
        LETTERS, upload(NEW_MD5, NEW_QUERY), "2015-04-27T08:23:49Z", ALL_NAMES, NEW_SIGNATURE, id="listed"
    ),
    pytest.param(
        LETTERS,
        upload(NEW_MD5, NEW_QUERY),
        "2015-04-27T08:23:49Z",
        ";".join(reversed(ALL_NAMES.split(";"))),
        NEW_SIGNATURE,
        id="listed in any order",
    ),
    pytest.param(
        LETTERS,
        upload(NEW_MD5, ""),
        "2015-04-27T08:23:49Z",
        "",
        "0558aac491bbef484d3aaa30ac1e65d4ff10daccd351f15c91e922ee4ce72690",
        id="no query",
    ),
    pytest.param(
        OLD,
        upload("0a52730597fb4ffa01fc117d9e71e3a9", "partNumber=9&uploadId=VXBsb2FkIElpZS5tMnRzIHVwbG9hZA"),
        "2015-04-27T08:23:49Z",
        "",
        "a19e6386e990691aca1114a20357c83713f1cb4be3d74942bb4ed37469ecdacf",
        id="older page",
    ),
    pytest.param(
        LETTERS,
        listing(),
        "2024-12-23T08:00:00Z",
        "x-bce-date;host",
        "2f7cd3b3590e407875a45f0613dce4d50c88a2011986d6afca94e8ee10a93b9c",
        id="host and date",
    ),
    pytest.param(
        LETTERS,
        listing(("Content-Type", "application/json")),
        "2024-12-23T08:00:00Z",
        "content-type;host;x-bce-date",
        "886ec7ef8dfde37a2350b28d33d61d6ee43958e8f48b00c0a5f9f69cbfcfdfe1",
        id="content type too",
    ),
    pytest.param(
        replace(LETTERS, session_token="tok/en+1=="),
        listing(("x-bce-security-token", "tok/en+1==")),
        "2024-12-23T08:00:00Z",
        "host;x-bce-date;x-bce-security-token",
        "0ce8473b121554b042d868ccc5e3f25613c4167cd4df36f247db7d01322fac3b",
        id="session token",
    ),
]


@pytest.mark.parametrize(("account", "request_", "stamp", "names", "signature"), VECTORS)
def test_vectors(account: Account, request_: Signed, stamp: str, names: str, signature: str) -> None:
    value = f"bce-auth-v1/{account.access_key_id}/{stamp}/1800/{names}/{signature}"
    now = datetime.fromisoformat(stamp) + timedelta(minutes=10)
    assert verify(authorized(request_, value), [OLD, account], now) is account


def test_canonical_request_of_the_documentation() -> None:
    assert canonical_request(upload(NEW_MD5, NEW_QUERY)) == (
        "PUT\n"
        "/v1/test/myfolder/readme.txt\n"
        "partNumber=9&uploadId=a44cc9bab11cbd156984767aad637851\n"
        "content-length:8\n"
        "content-md5:NFzcPqhviddjRNnSOGo4rw%3D%3D\n"
        "content-type:text%2Fplain\n"
        "host:bj.bcebos.com\n"
        "x-bce-date:2015-04-27T08%3A23%3A49Z"
    )


def test_canonical_query_and_path_of_the_documentation() -> None:
    query = "text&text1=%E6%B5%8B%E8%AF%95&text10=test&authorization=x"
    assert canonical_query(query) == "text10=test&text1=%E6%B5%8B%E8%AF%95&text="
    for path in ("/example/测试", "/example/%E6%B5%8B%E8%AF%95"):
        request = replace(listing(), path=path)
        assert canonical_request(request).splitlines()[1] == "/example/%E6%B5%8B%E8%AF%95"


STAMP = "2024-12-23T08:00:00Z"
NOW = datetime(2024, 12, 23, 8, 0, 0, tzinfo=UTC)
PREFIX = f"bce-auth-v1/{'a' * 32}/{STAMP}/1800"
GOOD = f"{PREFIX}/host;x-bce-date/2f7cd3b3590e407875a45f0613dce4d50c88a2011986d6afca94e8ee10a93b9c"


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        pytest.param(listing(), 403, "AccessDenied", id="no header"),
        pytest.param(authorized(listing(), "Bearer x"), 400, "InvalidHTTPAuthHeader", id="bearer"),
        pytest.param(authorized(listing(), GOOD[:-1]), 400, "InvalidHTTPAuthHeader", id="short"),
        pytest.param(
            authorized(listing(), GOOD.replace("-12-", "-13-")),
            400,
            "SignatureDoesNotMatch",
            id="time tampered",
        ),
        pytest.param(
            authorized(listing(), GOOD.replace("host;", "")),
            400,
            "InvalidHTTPAuthHeader",
            id="host not signed",
        ),
        pytest.param(
            authorized(listing(), GOOD.replace("aaaa", "zzzz")), 403, "InvalidAccessKeyId", id="key"
        ),
        pytest.param(
            authorized(listing(), GOOD[:-1] + "0"), 400, "SignatureDoesNotMatch", id="signature tampered"
        ),
        pytest.param(
            authorized(replace(listing(), query="Action=DeleteModelCompTask"), GOOD),
            400,
            "SignatureDoesNotMatch",
            id="action tampered",
        ),
        pytest.param(
            authorized(replace(listing(), method="PUT"), GOOD),
            400,
            "SignatureDoesNotMatch",
            id="method tampered",
        ),
        pytest.param(
            authorized(replace(listing(), path="/v2/service"), GOOD),
            400,
            "SignatureDoesNotMatch",
            id="path tampered",
        ),
        pytest.param(
            authorized(replace(listing(), headers=(("Host", "evil"), *listing().headers[1:])), GOOD),
            400,
            "SignatureDoesNotMatch",
            id="host tampered",
        ),
        pytest.param(
            authorized(listing(), GOOD.replace("/1800/", "/9999/")),
            400,
            "SignatureDoesNotMatch",
            id="life tampered",
        ),
    ],
)
def test_refusals(request_: Signed, status: int, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        verify(request_, [LETTERS], NOW)
    assert (caught.value.http_status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("late", "accepted"),
    [(-301, False), (-300, True), (0, True), (1800, True), (1801, False)],
)
def test_age(late: float, accepted: bool) -> None:
    now = NOW + timedelta(seconds=late)
    if accepted:
        assert verify(authorized(listing(), GOOD), [LETTERS], now) is LETTERS
        return
    with pytest.raises(ApiError, match="RequestExpired"):
        verify(authorized(listing(), GOOD), [LETTERS], now)


def test_tolerance_is_a_switch() -> None:
    with pytest.raises(ApiError, match="RequestExpired"):
        verify(authorized(listing(), GOOD), [LETTERS], NOW - timedelta(seconds=5), tolerance=4)


def test_impossible_timestamp() -> None:
    prefix = PREFIX.replace("-12-23", "-02-31")
    value = f"{prefix}/host/{sign(listing(), prefix, frozenset({'host'}), 'b' * 32)}"
    with pytest.raises(ApiError, match="InvalidHTTPAuthHeader"):
        verify(authorized(listing(), value), [LETTERS], NOW)


# Over a socket


@pytest.mark.parametrize("headers_to_sign", [set(), {b"host"}, {b"host", b"x-bce-date", b"content-type"}])
@pytest.mark.parametrize("token", [None, "tok/en+1=="])
def test_official_sdk(
    world: World, emulator: EmulatorServer, headers_to_sign: Any, token: str | None
) -> None:
    signer = pytest.importorskip("baidubce.auth.bce_v1_signer")
    credentials = pytest.importorskip("baidubce.auth.bce_credentials")
    world.account.session_token = token
    headers = {
        b"host": urlsplit(emulator.url).netloc.encode(),
        b"content-type": b"application/json",
        b"content-length": b"2",
        b"x-bce-date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}".encode(),
    }
    if token:
        headers[b"x-bce-security-token"] = token.encode()
    # Given any name, this signer adds x-bce-* headers to what it signs, but lists only what it was given.
    names = (
        headers_to_sign | {name for name in headers if name.startswith(b"x-bce-")}
        if headers_to_sign
        else None
    )
    keys = credentials.BceCredentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    headers[b"authorization"] = signer.sign(
        keys, b"POST", b"/v2/model", headers, {b"Action": b"DescribeModelCompTasks"}, headers_to_sign=names
    )
    response = httpx.post(
        f"{emulator.url}/v2/model?Action=DescribeModelCompTasks",
        content=b"{}",
        headers=headers,
        trust_env=False,
    )
    assert response.status_code == 200, response.text


def test_errors_of_the_identity_service_say_so_in_headers(client: Client) -> None:
    client.secret = "wrong"
    response = client.post("DescribeModelCompTasks")
    assert error(response) == (400, "SignatureDoesNotMatch")
    assert response.headers["X-Bce-Error-Code"] == "SignatureDoesNotMatch"
    assert response.headers["X-Bce-Error-Message"] == response.json()["message"]


def test_rotated_key(world: World, client: Client) -> None:
    world.account.secret_access_key = "new"
    assert error(client.post("DescribeModelCompTasks")) == (400, "SignatureDoesNotMatch")
    client.secret = "new"
    assert client.post("DescribeModelCompTasks").status_code == 200


def test_session_token(world: World, client: Client) -> None:
    world.account.session_token = "good"
    for token in (None, "bad"):
        client.token = token
        assert error(client.post("DescribeModelCompTasks")) == (403, "InvalidAccessKeyId")
    client.token = "good"
    assert client.post("DescribeModelCompTasks").status_code == 200


@pytest.mark.parametrize(("ahead", "status"), [(-3600, 400), (-1700, 200), (0, 200), (280, 200), (3600, 400)])
def test_client_clock(client: Client, ahead: float, status: int) -> None:
    client.ahead = ahead
    response = client.post("DescribeModelCompTasks")
    assert response.status_code == status
    if status == 400:
        assert error(response) == (400, "RequestExpired")


def test_signatures_go_by_the_wall_clock_unless_told_otherwise(world: World, client: Client) -> None:
    world.advance(86400)
    assert client.post("DescribeModelCompTasks").status_code == 200
    world.behaviour.signature_clock = "world"
    assert error(client.post("DescribeModelCompTasks")) == (400, "RequestExpired")
    client.ahead = 86400
    assert client.post("DescribeModelCompTasks").status_code == 200
