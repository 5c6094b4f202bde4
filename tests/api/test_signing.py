from __future__ import annotations

import copy
import pickle
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.auth.bce_v1_signer import sign as official_sign
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_qianfan.api.signing import (
    Credentials,
    Secret,
    authorization,
    canonical_headers,
    canonical_query,
    canonical_uri,
    check_action,
    check_path,
    request_target,
)

LETTERS = Credentials("a" * 32, "b" * 32)
OLD = Credentials("0b0f67dfb88244b289b72b142befad0c", "bad522c2126a4618a8125f4b6cf6356f")
UPLOAD = {
    "Host": "bj.bcebos.com",
    "Content-Type": "text/plain",
    "Content-Length": "8",
    "x-bce-date": "2015-04-27T08:23:49Z",
}
NEW_MD5 = {"Content-Md5": "NFzcPqhviddjRNnSOGo4rw=="}
OLD_MD5 = {"Content-Md5": "0a52730597fb4ffa01fc117d9e71e3a9"}
QIANFAN = {"Host": "qianfan.baidubce.com", "x-bce-date": "2024-12-23T08:00:00Z"}
LIST = [("Action", "DescribeModelCompTasks")]
UPLOAD_TIME = datetime(2015, 4, 27, 8, 23, 49, tzinfo=UTC)
QIANFAN_TIME = datetime(2024, 12, 23, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("credentials", "method", "path", "query", "headers", "when", "signature"),
    [
        pytest.param(
            LETTERS,
            "PUT",
            "/v1/test/myfolder/readme.txt",
            [("partNumber", "9"), ("uploadId", "a44cc9bab11cbd156984767aad637851")],
            UPLOAD | NEW_MD5,
            UPLOAD_TIME,
            "d74a04362e6a848f5b39b15421cb449427f419c95a480fd6b8cf9fc783e2999e",
            id="https://cloud.baidu.com/doc/Reference/s/njwvz1yfu",
        ),
        pytest.param(
            LETTERS,
            "PUT",
            "/v1/test/myfolder/readme.txt",
            [],
            UPLOAD | NEW_MD5,
            UPLOAD_TIME,
            "0558aac491bbef484d3aaa30ac1e65d4ff10daccd351f15c91e922ee4ce72690",
            id="the same page, without a query",
        ),
        pytest.param(
            OLD,
            "PUT",
            "/v1/test/myfolder/readme.txt",
            [("partNumber", "9"), ("uploadId", "VXBsb2FkIElpZS5tMnRzIHVwbG9hZA")],
            UPLOAD | OLD_MD5,
            UPLOAD_TIME,
            "a19e6386e990691aca1114a20357c83713f1cb4be3d74942bb4ed37469ecdacf",
            id="the page as of 2015",
        ),
        pytest.param(
            LETTERS,
            "POST",
            "/v2/model",
            LIST,
            QIANFAN,
            QIANFAN_TIME,
            "2f7cd3b3590e407875a45f0613dce4d50c88a2011986d6afca94e8ee10a93b9c",
            id="Qianfan, as we sign",
        ),
        pytest.param(
            LETTERS,
            "POST",
            "/v2/model",
            LIST,
            QIANFAN | {"Content-Type": "application/json"},
            QIANFAN_TIME,
            "886ec7ef8dfde37a2350b28d33d61d6ee43958e8f48b00c0a5f9f69cbfcfdfe1",
            id="Qianfan, with the content type",
        ),
        pytest.param(
            LETTERS,
            "POST",
            "/v2/model",
            LIST,
            QIANFAN | {"x-bce-security-token": "tok/en+1=="},
            QIANFAN_TIME,
            "0ce8473b121554b042d868ccc5e3f25613c4167cd4df36f247db7d01322fac3b",
            id="Qianfan, with temporary keys",
        ),
    ],
)
def test_published_vectors(credentials, method, path, query, headers, when, signature) -> None:
    value = authorization(credentials, method=method, path=path, query=query, headers=headers, when=when)

    prefix, names, signed = value.rsplit("/", 2)
    assert signed == signature
    assert names == ";".join(sorted(name.lower() for name in headers))
    assert prefix == f"bce-auth-v1/{credentials.access_key_id}/{when:%Y-%m-%dT%H:%M:%SZ}/1800"


def test_query_vector() -> None:
    query = [("text", ""), ("text1", "测试"), ("text10", "test")]

    # '=' sorts after the digits, so text10 comes before text1, and text last.
    assert canonical_query(query) == "text10=test&text1=%E6%B5%8B%E8%AF%95&text="


def test_the_authorization_parameter_is_not_signed() -> None:
    assert canonical_query([("Authorization", "x"), ("a", "b")]) == "a=b"


@pytest.mark.parametrize(
    ("path", "canonical"),
    [("/example/测试", "/example/%E6%B5%8B%E8%AF%95"), ("", "/"), ("v2/a b~", "/v2/a%20b~")],
)
def test_uri_vector(path: str, canonical: str) -> None:
    assert canonical_uri(path) == canonical


def test_empty_headers_are_neither_signed_nor_named() -> None:
    assert canonical_headers({"Host": "h", "x-bce-empty": "  "}) == ("host:h", "host")


def test_only_ascii_blanks_around_a_header_are_not_signed() -> None:
    assert canonical_headers({" a\u00a0": "\u00a0b\t"}) == ("a%C2%A0:%C2%A0b", "a\u00a0")


def test_time_is_converted_to_utc(in_beijing: None) -> None:
    beijing = QIANFAN_TIME.astimezone(timezone(timedelta(hours=8)))

    assert "/2024-12-23T08:00:00Z/" in authorization(
        LETTERS, method="POST", path="/", query=[], headers=QIANFAN, when=beijing
    )


def test_credentials_do_not_show_their_secrets() -> None:
    assert repr(Credentials("id", "secret-value", "token-value")) == "Credentials(access_key_id='id')"


text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
names = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789-_.~", min_size=1, max_size=12)


# Measured: 10,000 examples take some 15 s; tests/hooks/test_session.py compares some hundreds on the wire.
@pytest.mark.faults
@settings(max_examples=10_000, deadline=None)
@given(
    access_key=st.text("ABCDEFabcdef0123456789", min_size=1, max_size=32),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.lists(text, max_size=3),
    query=st.dictionaries(names.filter(lambda name: name.lower() != "authorization"), text, max_size=4),
    bce=st.dictionaries(names.map("x-bce-{}".format), text, max_size=3),
    content_type=st.sampled_from(["", "application/json", " text/plain; charset=utf-8 "]),
    second=st.integers(1, 4_000_000_000),
    expires_in=st.integers(1, 200_000),
)
def test_equals_the_official_signer(
    access_key, secret, method, path, query, bce, content_type, second, expires_in
) -> None:
    headers = {"Host": "qianfan.baidubce.com", "Content-Type": content_type, **bce}
    headers = {name.lower(): value for name, value in headers.items()}
    uri = "/" + "/".join(path)
    ours = authorization(
        Credentials(access_key, secret),
        method=method,
        path=uri,
        query=query.items(),
        headers=headers,
        when=datetime.fromtimestamp(second, UTC),
        expires_in=expires_in,
    )

    theirs = official_sign(
        BceCredentials(access_key, secret),
        method.encode(),
        canonical_uri(uri).encode(),  # their caller encodes the path
        {name.encode(): value.encode() for name, value in headers.items()},
        {name.encode(): value.encode() for name, value in query.items()},
        timestamp=second,
        expiration_in_seconds=expires_in,
        headers_to_sign={name.encode() for name in headers},
    ).decode()

    assert ours.rpartition("/")[2] == theirs.rpartition("/")[2]
    assert ours.split("/")[:4] == theirs.split("/")[:4]
    filled = {name for name, value in headers.items() if value.strip(" \t\n\r\v\f")}
    assert set(ours.split("/")[4].split(";")) == filled


def test_a_secret_does_not_show_itself_and_is_not_pickled() -> None:
    credentials = Credentials("key", "secret", "token")
    assert (credentials.secret_access_key, credentials.session_token) == ("secret", "token")
    for secret in (credentials.secret_access_key, credentials.session_token):
        assert repr(secret) == f"{secret!r}" == "'***'"
        assert type(copy.copy(secret)) is type(copy.deepcopy(secret)) is Secret
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match=r"^A key is not pickled"):
                pickle.dumps(secret, protocol)


@pytest.mark.parametrize("path", ["/", "/v2/model", "/v2/a.b/..c/模型"])
def test_a_path(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (None, "path=None has to begin with one slash"),
        ("v2/model", "path='v2/model' has to begin with one slash"),
        ("//other.host/v2", "path='//other.host/v2' has to begin with one slash"),
        ("/v2/model?Action=X", "path='/v2/model?Action=X' is more than a path"),
        ("/v2/model#x", "path='/v2/model#x' is more than a path"),
        ("/v2/\u202emodel", r"path='/v2/\u202emodel' has characters that no path has"),
        ("/v2\\model", r"path='/v2\\model' has characters that no path has"),
        ("/v2/./model", "path='/v2/./model' has dot segments"),
        ("/v2/../model", "path='/v2/../model' has dot segments"),
    ],
)
def test_what_is_no_path(path: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        check_path(path)


@pytest.mark.parametrize("action", [None, 7, "", "Describe Model", "DescribeModel&x=1", "Model\n"])
def test_what_is_no_action(action: object) -> None:
    with pytest.raises(ValueError, match=f"^action={re.escape(repr(action))} is not the name of an action"):
        check_action(action)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ([], "/v2/a%20b"),
        ([("Action", "X")], "/v2/a%20b?Action=X"),
        ([("Action", "X"), ("a b", "=&")], "/v2/a%20b?Action=X&a%20b=%3D%26"),
    ],
)
def test_the_target_of_a_request(query: list[tuple[str, str]], target: str) -> None:
    assert request_target("/v2/a b", query) == target
