"""Whatever a client sends, the emulator answers properly and goes on."""

from __future__ import annotations

import http.client
import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_qianfan.emulator import behaviour, faults, specs, steps
from airflow_provider_qianfan.emulator.faults import ACTIONS
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec, TaskSpec
from tests.emulator.client import Client
from tests.emulator.test_app import CREATE, SERVE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.faults

SPECS = [
    value
    for module in (behaviour, specs, steps, faults)
    for value in vars(module).values()
    if is_dataclass(value) and isinstance(value, type) and value.__module__ == module.__name__
]
ODD: list[Any] = [
    None,
    True,
    -1,
    10**400,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "\x1b[2J\n\0",
    "千帆",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+08:00",
    "x" * 5000,
    [],
    {},
    ["\udfff"],
    {"\ud800": 1},
    json.loads("[" * 100 + "]" * 100),
]
KEYS = sorted(
    {
        *(field.name.rstrip("_") for spec in SPECS for field in fields(spec)),
        *(key for body in (CREATE, SERVE) for key in body),
        *("modelCompTaskId", "serviceId", "marker", "maxKeys", "pageReverse", "runStatus", "advance", "add"),
        *("strategy", "weight", "qps", "replicasCount", "type", "accounts"),
    }
)
VALUES = ["running", "succeeded", "Serving", "Sparsity", "shuffled", "amva-1", "svco-1", "GPU-1-1", 1, 0.5]
values = st.recursive(
    st.sampled_from([*ODD, *VALUES]) | st.text(max_size=5) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
# What is right but for one thing gets further than what is all wrong.
RIGHT: dict[str, dict[str, Any]] = {
    "CreateModelCompTask": CREATE,
    "DescribeModelCompTasks": {"maxKeys": 5},
    "DescribeModelCompTask": {"modelCompTaskId": "amva-1"},
    "ModifyService": {"serviceId": "svco-1", "modelSetId": "am-1", "modelId": "amv-1"},
    "CreateService": SERVE,
    "clock": {"advance": 1},
    "tasks": {"source_model_id": "amv-1", "status": "running"},
    "tasks/amva-1": {"status": "succeeded", "model_id": "amv-2"},
    "models": {"id": "amv-3", "status": "Ready"},
    "models/amv-1": {"status": "Creating"},
    "services": {"model_id": "amv-1"},
    "services/svco-1": {"run_status": "Failed"},
    "faults": {"add": [{"latency": 0.0, "count": 0, "always": False}]},
    "behaviour": {"order": "shuffled"},
    "credentials": {"accounts": [{"access_key_id": "emulator-access-key-id"}]},
    "reset": {},
}


@st.composite
def bodies(draw: st.DrawFn, target: str) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.binary(max_size=50) | st.sampled_from([b"[" * 100_000, b"\xff\xfe", b'{"a":"\xed\xa0\x80"}'])
        )
    extra = draw(st.dictionaries(st.sampled_from(KEYS), values, max_size=2))
    data = {**RIGHT.get(target, {}), **extra}
    if data and draw(st.booleans()):
        data[draw(st.sampled_from(sorted(data)))] = draw(values)
    return json.dumps(draw(st.just(data) | values)).encode()


segments = st.text(max_size=8) | st.sampled_from(
    ["amva-1", "svco-1", "%FF", "%", "%ZZ", "%ED%A0%80", "a" * 3000, "%0A"]
)
header_bytes = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127))
NAMES = [
    "Authorization",
    "x-bce-date",
    "x-bce-security-token",
    "X-Odd",
    "Content-Type",
    "Expect",
    "Upgrade",
    "Accept",
]
AUTHORIZATIONS = [
    b"bce-auth-v1/\xff/2024-01-01T00:00:00Z/1/host/" + b"0" * 64,
    "bce-auth-v1/千/".encode(),
    b"/" * 2000,
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorServer]:
    with EmulatorServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(emulator: EmulatorServer) -> Iterator[Client]:
    with Client(emulator.url) as client:
        yield client


def begin(emulator: EmulatorServer) -> None:
    world = emulator.world
    world.reset()
    world.tasks.add(TaskSpec("amv-1", id="amva-1", status="running"))
    world.models.add(ModelSpec(id="amv-1"))
    world.services.add(ServiceSpec("amv-1", id="svco-1"))


def check_still_good(emulator: EmulatorServer, client: Client) -> None:
    """See that what was sent before has broken no request after it."""
    world = emulator.world
    world.accounts = list(world.scenario.accounts)
    world.faults = []
    answer = client.control("state")
    assert answer.status_code == 200, answer.text
    strict(answer.content)
    for action in ("DescribeModelCompTasks", "DescribeServices"):
        answer = client.post(action, {})
        assert answer.status_code == 200, answer.text
        strict(answer.content)


def strict(content: bytes) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(content.decode("utf-8"), parse_constant=refuse)


TASK = {"source_model_id": "amv-x", "status": "running"}
LATE = {"rate_limit": True, "retry_after": 1e300, "retry_after_date": True}
DEEP = "[" * 5000 + "]" * 5000


def within(body: dict[str, Any], key: str, depth: int) -> str:
    """Return JSON with one more key, whose value goes deep."""
    return f'{json.dumps(body)[:-1]}, "{key}": {{"x": {"[" * depth}{"]" * depth}}}}}'


# Each of these was answered by 500, or by what is no JSON, or broke what came after it.
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("clock", DEEP, 400),
        ("clock", '{"advance": 1e308}', 400),
        ("clock", '{"advance": 1e999}', 400),
        ("clock", '{"advance": NaN}', 400),
        ("clock", '{"advance": 1' + "0" * 400 + "}", 400),
        ("clock", '{"advance": 250000000000}', 200),
        ("tasks", json.dumps({**TASK, "created": 1e300}), 200),
        ("tasks", json.dumps({**TASK, "created": -1e300}), 200),
        ("tasks", json.dumps({**TASK, "created": "0001-01-01T00:00:00+08:00"}), 400),
        ("tasks", json.dumps({**TASK, "created": "9999-12-31T23:59:59Z"}), 200),
        ("tasks", json.dumps({**TASK, "id": "amva-\ud800"}), 200),
        ("tasks", within(TASK, "set", 40), 200),
        ("tasks", within(TASK, "set", 900), 400),
        ("tasks", json.dumps({**TASK, "repeat": {"count": 10**9}}), 400),
        ("tasks/amva-1", json.dumps({"status": "failed", "after": -1e300}), 200),
        ("faults", json.dumps({"add": [{"skew": 1e300}]}), 200),
        (
            "faults",
            json.dumps({"add": [LATE]}),
            200,
        ),
        ("faults", json.dumps({"add": [{"headers": {"X": "千"}}]}), 400),
        ("faults", json.dumps({"add": [{"headers": {"X": "a\r\nb: c"}}]}), 400),
        ("faults", json.dumps({"add": [{"headers": {"X:": "a"}}]}), 400),
        ("faults", json.dumps({"add": [{"headers": {"Content-Length": "x"}}]}), 400),
        ("faults", json.dumps({"add": [{"redirect": "http://千/\n"}]}), 400),
        ("faults", json.dumps({"add": [{"body": "\ud800"}]}), 200),
        ("faults", json.dumps({"add": [{"huge_body": 10**30}]}), 400),
        ("behaviour", json.dumps({"clock_tolerance": 1e300}), 200),
        ("behaviour", json.dumps({"order": "shuffled", "source_type_key": "\ud800"}), 200),
        ("credentials", json.dumps({"accounts": [{"secret_access_key": "\ud800"}]}), 200),
        ("credentials", json.dumps({"accounts": [{"access_key_id": "\ud800"}]}), 200),
    ],
)
def test_named_changes(emulator: EmulatorServer, client: Client, path: str, body: str, status: int) -> None:
    begin(emulator)
    answer = client.http.post(f"{client.url}/_emulator/{path}", content=body)
    assert answer.status_code == status, answer.text
    assert strict(client.control("state").content)
    for fault in [None, *emulator.world.faults]:
        answer = client.post("DescribeModelCompTasks", {})
        assert answer.status_code < 500, (fault, answer.text)
    check_still_good(emulator, client)


@pytest.mark.parametrize(
    ("action", "body", "outcome"),
    [
        ("DescribeModelCompTasks", DEEP, "MalformedJSON"),
        ("DescribeModelCompTasks", '{"marker": "\\ud800"}', "InvalidMarker"),
        ("DescribeModelCompTask", '{"modelCompTaskId": "\\ud800"}', "NoSuchKey"),
        ("CreateModelCompTask", json.dumps({**CREATE, "name": "\ud800"}), None),
        ("CreateModelCompTask", json.dumps({**CREATE, "more": float("inf")}), "MalformedJSON"),
        ("CreateModelCompTask", json.dumps(CREATE)[:-1] + ', "more": 1e999}', "MalformedJSON"),
        ("CreateModelCompTask", within(CREATE, "more", 900), "MalformedJSON"),
    ],
)
def test_named_calls(
    emulator: EmulatorServer, client: Client, action: str, body: str, outcome: str | None
) -> None:
    begin(emulator)
    answer = client.post(action, content=body.encode())
    assert strict(answer.content).get("code") == outcome
    check_still_good(emulator, client)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v2/model%0A?Action=DescribeModelCompTasks", 400),
        ("/v2/model/", 400),
        ("//v2/model", 400),
        ("/%ED%A0%80", 400),
        ("/_emulator/%ED%A0%80", 404),
    ],
)
def test_named_paths(emulator: EmulatorServer, client: Client, target: str, status: int) -> None:
    headers = {"Authorization": b"bce-auth-v1/\xff\xfe/"}
    assert send(emulator, "POST", target, headers, b"{}")[0] == status
    check_still_good(emulator, client)


def bounded(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@bounded(80)
@given(data=st.data())
def test_any_call_of_the_platform(emulator: EmulatorServer, client: Client, data: st.DataObject) -> None:
    begin(emulator)
    action = data.draw(st.sampled_from(ACTIONS))
    answer = client.post(action, content=data.draw(bodies(action)))
    assert answer.status_code < 500, answer.text
    strict(answer.content)
    check_still_good(emulator, client)


@bounded(150)
@given(data=st.data())
def test_any_change_of_the_world(emulator: EmulatorServer, client: Client, data: st.DataObject) -> None:
    begin(emulator)
    path = data.draw(st.sampled_from([key for key in RIGHT if key not in ACTIONS]))
    answer = client.http.post(f"{client.url}/_emulator/{path}", content=data.draw(bodies(path)))
    assert answer.status_code in (200, 400, 404), answer.text
    strict(answer.content)
    if path == "faults" and answer.status_code == 200:
        # A fault may ask for an error; then the error has to come.
        for fault in emulator.world.faults:
            fault.latency = 0.0
        assert client.post("DescribeModelCompTasks", {}).status_code >= 200
    check_still_good(emulator, client)


@bounded(80)
@given(data=st.data())
def test_any_request(emulator: EmulatorServer, client: Client, data: st.DataObject) -> None:
    begin(emulator)
    method = data.draw(st.sampled_from(["GET", "POST", "DELETE", "PUT", "OPTIONS", "ODD"]))
    path = data.draw(
        st.sampled_from(
            ["/v2/model", "/v2/service", "/_emulator", "/_emulator/tasks", "/_emulator/services", ""]
        )
    )
    for segment in data.draw(st.lists(segments, max_size=2)):
        path += "/" + quote(segment, safe="%", errors="replace")
    query = data.draw(
        st.sampled_from(
            [
                "",
                "Action",
                "Action=%FF%ED%A0%80",
                "Action=DescribeModelCompTasks&&=&=x&%",
                "Action=" + "a" * 5000,
            ]
        )
        | st.text(max_size=10).map(lambda text: "Action=" + quote(text, errors="replace"))
    )
    headers = data.draw(
        st.dictionaries(st.sampled_from(NAMES), header_bytes | st.sampled_from(AUTHORIZATIONS), max_size=3)
    )
    status, content = send(emulator, method, f"{path or '/'}?{query}", headers, data.draw(bodies("")))
    assert status < 500, content
    content.decode("utf-8")
    check_still_good(emulator, client)


def send(
    emulator: EmulatorServer, method: str, target: str, headers: dict[str, bytes], body: bytes
) -> tuple[int, bytes]:
    parts = urlsplit(emulator.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.putrequest(method, target)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
