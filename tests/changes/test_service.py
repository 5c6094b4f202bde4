"""A service created once."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import QianfanTransientError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.journal import Journal, Ports, fingerprint
from airflow_provider_qianfan.changes.once import create_once
from airflow_provider_qianfan.changes.service import NewService
from airflow_provider_qianfan.gate.errors import (
    QianfanResourceAmbiguousError,
    QianfanResourceExistsError,
)
from tests.api.steps import Drive, answer, error, page
from tests.changes.answers import (
    DETAIL,
    GONE,
    KEY,
    MODEL,
    NEW,
    NOW,
    OTHER,
    SERVICE,
    SETTLE,
    model,
)

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Reply


MARK = fingerprint("dag", "run", "serve", -1)


LIST, CREATE = "DescribeServices", "CreateService"


CONFIG = {"deploymentComputeUnitList": [{"instanceId": "unit-1"}]}


OURS = {
    "serviceId": SERVICE,
    "name": "chat",
    "runStatus": "Serving",
    "modelId": NEW,
    "description": f"nightly {MARK}",
}


MADE = answer({"result": {"serviceId": "svco-9"}})


def services(*rows: dict[str, Any], more: str | None = None) -> Reply:
    info = {"isTruncated": more is not None, "nextMarker": more}
    return answer({"result": {"serviceList": list(rows), "pageInfo": info}})


class Creation(Drive):
    """A creation whose requests are answered in turn."""

    def __init__(
        self, *replies: Reply, if_exists: Any = "adopt", known: str | None = None, **new: Any
    ) -> None:
        self.lines: list[tuple[int, str]] = []
        usual = {"model_set_id": "am-new", "description": "nightly"}
        wanted = NewService("chat", "chat-url", NEW, deployment_config=CONFIG, mark=MARK, **usual | new)
        exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
        ports = Ports(SETTLE, lambda: NOW + sum(self.slept), lambda *line: self.lines.append(line))
        journal = Journal(None, KEY, {"mark": MARK}, 1)
        journal.entry = {"id": known} if known else {}
        super().__init__(create_once(exchange, wanted, if_exists, journal, ports), replies)

    @property
    def actions(self) -> list[str]:
        return [request.url.rpartition("=")[2] for request in self.requests]

    @property
    def warnings(self) -> str:
        return "\n".join(text for level, text in self.lines if level == logging.WARNING)


def test_a_service_is_created() -> None:
    drive = Creation(services(), MADE)

    assert drive.result == "svco-9"
    assert drive.actions == [LIST, CREATE]
    assert drive.bodies[0]["name"] == "chat"
    assert drive.bodies[1] == {
        "modelSetId": "am-new",
        "modelId": NEW,
        "name": "chat",
        "description": f"nightly {MARK}",
        "urlSuffix": "chat-url",
        "deploymentConfig": CONFIG,
    }


def test_nothing_is_created_beside_a_service_that_may_be_ours() -> None:
    """The list has the service, but not its description, and the detail is behind the list."""
    row = {"serviceId": SERVICE, "name": "chat"}

    unknown = Creation(services(row), GONE)
    known_later = Creation(
        services(), page(502), services(row), GONE, services(row), answer({"result": OURS})
    )

    assert isinstance(unknown.error, QianfanTransientError)
    assert str(unknown.error).startswith(
        "DescribeService: the list shows service svco-1 ('chat') without a description, but"
    )
    assert known_later.result == SERVICE
    assert known_later.actions.count(CREATE) == 1


def test_what_a_service_is_created_with() -> None:
    drive = Creation(
        services(), model("Ready"), MADE, model_set_id=None, description=None, protocol_version=2
    )

    assert drive.actions == [LIST, MODEL, CREATE]
    assert drive.bodies[1] == {"modelId": NEW}
    assert drive.bodies[2]["modelSetId"] == "am-new"
    assert drive.bodies[2]["description"] == MARK
    assert drive.bodies[2]["protocolVersion"] == 2


def test_a_description_that_the_mark_makes_too_long() -> None:
    drive = Creation(services(), MADE, description="x" * 1000)

    assert isinstance(drive.error, ValueError)
    assert CREATE not in drive.actions


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([OURS], id="ours"),
        pytest.param([OURS | {"serviceId": "svco-2", "description": "nightly"}, OURS], id="beside another"),
        pytest.param([OURS | {"serviceId": "svco-2", "name": "chat-2"}, OURS], id="beside a longer name"),
        pytest.param(
            [OURS | {"serviceId": ""}, OURS | {"serviceId": 7}, OURS], id="beside rows without an id"
        ),
        pytest.param(
            [{key: OURS[key] for key in ("serviceId", "description")}], id="of which little is said"
        ),
        pytest.param([OURS, OURS], id="listed twice"),
    ],
)
def test_a_service_with_our_mark_is_adopted(rows: list[dict[str, Any]]) -> None:
    drive = Creation(services(*rows))

    assert drive.result == SERVICE
    assert drive.actions == [LIST]
    assert drive.warnings == ""
    assert "an earlier try has created service svco-1" in drive.lines[-1][1]


@pytest.mark.parametrize(
    ("detail", "result"),
    [
        pytest.param(answer({"result": OURS}), SERVICE, id="ours"),
        pytest.param(answer({"result": OURS | {"description": "nightly"}}), "svco-9", id="not ours"),
    ],
)
@pytest.mark.parametrize(
    "told", [{}, {"description": ""}, {"description": None}], ids=["not", "empty", "null"]
)
def test_a_service_whose_row_has_no_description_is_asked_for(
    told: dict[str, Any], detail: Reply, result: str
) -> None:
    row = {"serviceId": SERVICE, "name": "chat", **told}

    drive = Creation(services(row), detail, MADE)

    assert drive.result == result
    assert drive.actions[:2] == [LIST, DETAIL]
    assert drive.bodies[1] == {"serviceId": SERVICE}


def test_a_list_of_two_pages() -> None:
    other = OURS | {"serviceId": "svco-2", "description": "nightly"}

    assert Creation(services(OURS, more="m"), services(other)).result == SERVICE
    assert Creation(services(other, more="m"), services(OURS)).result == SERVICE


def test_a_list_that_begins_anew_is_read_anew() -> None:
    other = {"serviceId": "svco-2", "name": "chat", "description": MARK}

    drive = Creation(services(other, more="m"), error(400, "InvalidMarker"), services(OURS))

    assert drive.result == SERVICE


def test_an_adopted_service_that_serves_another_version_is_warned_about() -> None:
    drive = Creation(services(OURS | {"modelId": OTHER, "runStatus": None}))

    assert drive.result == SERVICE
    assert (
        "svco-1 serves amv-other rather than amv-new: it has been updated since. To create" in drive.warnings
    )
    assert "which is in an unknown state" in drive.lines[0][1]


def test_a_service_that_must_not_exist() -> None:
    drive = Creation(services(OURS), if_exists="fail")

    assert type(drive.error) is QianfanResourceExistsError
    assert (drive.error.resource_id, drive.error.status) == (SERVICE, "Serving")


def test_a_service_that_must_not_exist_may_have_no_status() -> None:
    drive = Creation(services(OURS | {"runStatus": None}), if_exists="fail")

    assert drive.error.status is None


def test_two_services_with_our_mark_are_a_matter_for_a_person() -> None:
    drive = Creation(services(OURS, OURS | {"serviceId": "svco-2"}))

    assert type(drive.error) is QianfanResourceAmbiguousError
    assert (drive.error.resource_id, drive.error.status) == (None, "Serving")
    assert re.search(
        "2 services carry .*svco-1.* Serving; .*svco-2.* Nothing more is created", str(drive.error)
    )


@pytest.mark.parametrize(
    ("reply", "result", "actions"),
    [
        pytest.param(answer({"result": OURS}), SERVICE, [DETAIL], id="is asked for by its id"),
        pytest.param(GONE, "svco-9", [DETAIL, LIST, CREATE], id="makes room if it is gone"),
    ],
)
def test_a_service_whose_id_is_known(reply: Reply, result: str, actions: list[str]) -> None:
    drive = Creation(reply, services(), MADE, known=SERVICE)

    assert drive.result == result
    assert drive.actions == actions


def test_a_service_of_another_name_is_not_adopted() -> None:
    """The task was cleared with another name. What is known of the first service does not count."""
    exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
    chat, talk = (NewService(name, "url", NEW, "am-new", CONFIG, MARK) for name in ("chat", "talk"))
    notes = Notes()
    ports = Ports(SETTLE, lambda: NOW, lambda *line: None)

    def create(new: NewService, number: int, *replies: Reply) -> Any:
        journal = Journal(notes, KEY, new.identity, number)
        return Drive(create_once(exchange, new, "adopt", journal, ports), replies).result

    assert create(chat, 1, services(), MADE) == "svco-9"
    assert create(talk, 2, services(), answer({"result": {"serviceId": "svco-10"}})) == "svco-10"
    assert create(talk, 3, answer({"result": {"serviceId": "svco-10"}})) == "svco-10"


class Notes(dict[str, Any]):
    """What Airflow keeps."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


def test_a_lost_answer_to_a_creation() -> None:
    found = Creation(services(), page(502), services(), services(OURS))
    missed = Creation(services(), page(502), *[services()] * 4)

    assert found.result == SERVICE
    assert found.actions == [LIST, CREATE, LIST, LIST]
    told = (
        "Creating a service: it is not known whether 'chat' was created, .*console.* CreateService: HTTP 502"
    )
    assert re.search(told, str(missed.error))
