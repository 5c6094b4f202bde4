"""What an answer about a model version or a service is taken for."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_qianfan.api.errors import QianfanProtocolError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange
from airflow_provider_qianfan.api.resource import MODEL, SERVICE, Kind, Row, read_resource
from airflow_provider_qianfan.api.signing import Credentials
from tests.api.steps import Drive, answer


def read(kind: Kind, result: Any) -> Drive:
    exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"))
    return Drive(read_resource(exchange, kind, "x-1"), [answer({"result": result})])


@pytest.mark.parametrize(
    ("kind", "result"),
    [(MODEL, {"modelId": "x-1"}), (MODEL, {"modelVersionId": "x-1"}), (SERVICE, {"serviceId": "x-1"})],
)
def test_an_answer_that_names_the_resource(kind: Kind, result: dict[str, Any]) -> None:
    drive = read(kind, result)

    assert (drive.result, drive.error) == (Row("x-1", result), None)
    assert drive.bodies == [{kind.id_key: "x-1"}]


@pytest.mark.parametrize(("kind", "key"), [(MODEL, "modelId"), (SERVICE, "serviceId")])
def test_an_answer_about_another_resource(kind: Kind, key: str) -> None:
    drive = read(kind, {key: "x-2", "status": "Ready", "runStatus": "Serving"})

    assert type(drive.error) is QianfanProtocolError
    assert f"{kind.action}: asked for x-1, answered x-2" in str(drive.error)


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (MODEL, {"modelId": "x-1", "modelVersionId": "x-2", "status": "Ready"}),
        (SERVICE, {"serviceId": "x-2", "modelVersionId": "x-1", "runStatus": "Serving"}),
    ],
)
def test_an_answer_that_has_the_id_in_another_place(kind: Kind, result: dict[str, Any]) -> None:
    drive = read(kind, result)

    assert type(drive.error) is QianfanProtocolError
    assert f"{kind.action}: asked for x-1, answered x-2" in str(drive.error)


@pytest.mark.parametrize("result", [None, {}, [], "x-1", [{"modelId": "x-1"}]])
def test_an_answer_without_a_resource(result: Any) -> None:
    drive = read(MODEL, result)

    assert (drive.result, drive.error) == (None, None)


@pytest.mark.parametrize(
    ("row", "complete"),
    [
        ({"runStatus": "Serving", "updateStatus": "None", "modelId": "amv-1"}, True),
        ({"runStatus": "Serving", "updateStatus": "None"}, False),
        ({"runStatus": "Serving", "updateStatus": "None", "modelId": ""}, False),
        ({"runStatus": "Serving", "modelId": "amv-1"}, False),
        ({"updateStatus": "None", "modelId": "amv-1"}, False),
    ],
)
def test_a_row_of_a_list_may_say_too_little(row: dict[str, Any], complete: bool) -> None:
    assert Row("x-1", row).is_complete(SERVICE) is complete
