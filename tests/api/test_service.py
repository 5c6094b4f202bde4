"""What the platform takes for a service, and what it answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_qianfan.api.errors import QianfanError, QianfanProtocolError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange
from airflow_provider_qianfan.api.service import (
    LONGEST_DESCRIPTION,
    check_description,
    check_name,
    check_url_suffix,
    create_service,
    modify_service,
)
from airflow_provider_qianfan.api.signing import Credentials
from tests.api.steps import Drive, answer


def exchange() -> Exchange:
    return Exchange(Endpoint.parse("https://h"), Credentials("a", "b"))


@pytest.mark.parametrize("name", ["ab", "x" * 20, "服务", "- -"])
def test_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(("name", "told"), [("a", "'a' has 1 "), ("x" * 21, "has 21 "), ("", "'' has 0 ")])
def test_what_is_no_name(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^name=.*{told}characters\. The platform takes 2 to 20\.$"):
        check_name(name)


@pytest.mark.parametrize("suffix", ["ab", "0" * 20, "a-_b"])
def test_a_url_suffix(suffix: str) -> None:
    assert check_url_suffix(suffix) == suffix


@pytest.mark.parametrize("suffix", ["a", "0" * 21, "", "-ab", "ab_", "aB", "a/b", "a b", "ab\n", "服务"])
def test_what_is_no_url_suffix(suffix: str) -> None:
    with pytest.raises(
        ValueError, match=f"^url_suffix={re.escape(repr(suffix))}: the platform takes 2 to 20"
    ):
        check_url_suffix(suffix)


def test_a_description() -> None:
    longest = "x" * LONGEST_DESCRIPTION
    assert check_description(longest) == longest

    with pytest.raises(ValueError, match=r"^description has 501 characters, with the mark"):
        check_description(longest + "x")


def test_a_created_service_has_an_id() -> None:
    drive = Drive(create_service(exchange(), {"name": "x"}), [answer({"result": {"serviceId": "svco-1"}})])

    assert (drive.result, drive.error) == ("svco-1", None)
    assert drive.bodies == [{"name": "x"}]


@pytest.mark.parametrize(
    "result",
    [None, [], "svco-1", {}, *({"serviceId": odd} for odd in (None, "", 7, ["svco-1"], "svco\u2028"))],
)
def test_a_service_without_an_id_may_have_been_created(result: Any) -> None:
    drive = Drive(create_service(exchange(), {}), [answer({"result": result, "more": 1})])

    assert type(drive.error) is QianfanProtocolError
    assert str(drive.error).startswith("CreateService: the answer names no service id, but the service may")
    assert "'more': 1" in str(drive.error)


@pytest.mark.parametrize(
    ("document", "kind", "told"),
    [
        ({"result": True}, type(None), "None"),
        ({"result": False, "requestId": "r-1"}, QianfanError, "(request id r-1). Look at service svco-1"),
        ({"result": False}, QianfanError, "(request id not given)"),
        (
            {"result": 1},
            QianfanProtocolError,
            "does not say whether it was done, but the update may have begun",
        ),
        ({"result": "true"}, QianfanProtocolError, "ModifyService: the answer does not say"),
        ({"more": 1}, QianfanProtocolError, "the update may have begun: {'more': 1}"),
    ],
)
def test_only_true_says_that_a_service_is_updated(document: Any, kind: type, told: str) -> None:
    drive = Drive(modify_service(exchange(), "svco-1", "am-2", "amv-2"), [answer(document)])

    assert type(drive.error) is kind
    assert told in str(drive.error)
    assert drive.bodies == [{"serviceId": "svco-1", "modelSetId": "am-2", "modelId": "amv-2"}]
