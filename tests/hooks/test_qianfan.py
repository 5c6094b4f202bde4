from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanConfigurationError,
    QianfanError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import RetryPolicy
from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.get_provider_info import get_provider_info
from airflow_provider_qianfan.hooks import qianfan
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from tests.dag_runs import AIRFLOW_3

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer

SOURCE = "amv-source000001"
CONFIG = {"strategy": "Quantization", "weight": "INT8-PTQ"}


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the connection, as a URI or as a dict, and give its hook."""

    def set_connection(value: str | dict[str, Any]) -> QianfanHook:
        text = value if isinstance(value, str) else json.dumps({"conn_type": "qianfan", **value})
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", text)
        return QianfanHook()

    return set_connection


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("qianfan://AK:SK@", {"url": "https://qianfan.baidubce.com", "timeout": 30.0, "verify": True}),
        ({"login": "AK", "password": "SK"}, {"url": "https://qianfan.baidubce.com"}),
        ("qianfan://AK:SK@gateway.example.com:8443", {"url": "https://gateway.example.com:8443"}),
        ("qianfan://AK:SK@http%3A%2F%2F127.0.0.1%3A8787", {"url": "http://127.0.0.1:8787"}),
        (
            {"login": "AK", "password": "SK", "host": "127.0.0.1", "port": 8787, "schema": "http"},
            {"url": "http://127.0.0.1:8787"},
        ),
        ("qianfan://AK:SK@/?timeout=5&verify=true", {"timeout": 5.0, "verify": True}),
        (
            "qianfan://AK:SK@/?session_token=t&proxy=http%3A%2F%2Fp",
            {"session_token": "t", "proxy": "http://p"},
        ),
        (
            {"login": "AK", "password": "SK", "extra": {"timeout": 2.5, "verify": True, "proxy": None}},
            {"timeout": 2.5, "verify": True, "proxy": None},
        ),
        ({"login": "AK", "password": "SK", "extra": {"verify": __file__}}, {"verify": __file__}),
        # as the form of Airflow 2.11 stores it
        (
            {
                "login": "AK",
                "password": "SK",
                "host": "",
                "schema": "",
                "port": None,
                "extra": {"timeout": "2.5"},
            },
            {"url": "https://qianfan.baidubce.com", "timeout": 2.5, "verify": True},
        ),
    ],
)
def test_connections(connect: Any, connection: Any, expected: dict[str, Any]) -> None:
    settings: Settings = connect(connection).settings

    found = {
        "url": settings.endpoint.url,
        "timeout": settings.timeout,
        "verify": settings.verify,
        "proxy": settings.proxy,
        "session_token": settings.credentials.session_token,
    }
    assert {key: found[key] for key in expected} == expected
    assert (settings.credentials.access_key_id, settings.credentials.secret_access_key) == ("AK", "SK")


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        (
            {},
            ["login (Access Key ID) is missing", "password (Secret Access Key) is missing", "iam/accesslist"],
        ),
        ({"login": "AK", "password": "SK", "host": "http://qianfan.baidubce.com"}, ["Use https"]),
        ({"login": "AK", "password": "SK", "extra": {"timeout": 0}}, ["timeout='0'"]),
        ({"login": "AK", "password": "SK", "extra": {"timeout": "soon"}}, ["timeout='soon'"]),
        ({"login": "AK", "password": "SK", "extra": {"verify": False}}, ["verify=false is refused"]),
        ({"login": "AK", "password": "SK", "extra": {"verify": "/no/such/file"}}, ["CA bundle"]),
        ({"login": "AK", "password": "SK", "extra": {"verify": "-----BEGIN" + "x" * 5000}}, ["CA bundle"]),
        ({"host": "ftp://x", "extra": {"timeout": -1}}, ["login", "password", "not an endpoint", "timeout"]),
        ({"login": "AK\n", "password": "hu3sh"}, ["login (Access Key ID) contains"]),
        ({"login": "AK", "password": "hu3sh\r\n"}, ["password (Secret Access Key) contains"]),
        (
            {"login": "AK", "password": "x", "extra": {"session_token": "hu3\nsh"}},
            ["session_token contains"],
        ),
        ({"login": "A K", "password": "hu3shé"}, ["login", "password"]),
        (
            {"login": "AK", "password": "x", "extra": {"proxy": "ftp://user:hu3sh@proxy:3128"}},
            ["Extra proxy"],
        ),
        ({"login": "AK", "password": "x", "extra": {"proxy": "http://user:hu3sh@proxy:x"}}, ["Extra proxy"]),
    ],
)
def test_everything_that_is_wrong_is_told_at_once(connect: Any, connection: Any, told: list[str]) -> None:
    with pytest.raises(QianfanConfigurationError) as failure:
        _ = connect(connection).settings

    assert [what for what in told if what not in str(failure.value)] == []
    assert not any(secret in str(failure.value) for secret in ("hu3sh", "hu3"))


@pytest.mark.parametrize("extra", [["hu3sh"], "hu3sh"])
def test_an_extra_that_is_no_object_is_told(extra: Any) -> None:
    """Airflow 3.0 and 3.1 refuse some of these by themselves."""
    connection: Any = SimpleNamespace(
        conn_id="c", login="AK", password="SK", host=None, schema=None, port=None
    )
    with pytest.raises(QianfanConfigurationError) as failure:
        Settings.read(connection, extra)

    assert "extra is JSON, but not an object" in str(failure.value)
    assert "hu3sh" not in str(failure.value)


def test_the_five_actions(emulator: EmulatorServer) -> None:
    hook = QianfanHook()
    task_id = hook.create_model_comp_task(
        name="demo", source_model_id=SOURCE, model_set_id="am-1", config=CONFIG, description="text"
    )
    hook.create_model_comp_task(name="x", source_model_id="amv-other", model_set_id="am-1", config=CONFIG)

    task = hook.get_model_comp_task(task_id)
    assert task
    assert (task.name, task.source_model_id, task.json["description"]) == ("demo", SOURCE, "text")
    assert [task.id for task in hook.list_model_comp_tasks(SOURCE)] == [task_id]
    assert len(hook.list_model_comp_tasks()) == 2

    hook.cancel_model_comp_task(task_id)
    cancelled = hook.get_model_comp_task(task_id)
    assert cancelled
    assert cancelled.status == "stopping"

    hook.delete_model_comp_task(task_id)
    with pytest.raises(QianfanAPIError) as failure:
        hook.get_model_comp_task(task_id)
    assert failure.value.code == "NoSuchKey"


@pytest.mark.parametrize("value", ["", " ", None])
def test_an_empty_id_is_not_sent(emulator: EmulatorServer, value: Any) -> None:
    hook = QianfanHook()
    for call in (hook.get_model_comp_task, hook.cancel_model_comp_task, hook.delete_model_comp_task):
        with pytest.raises(ValueError, match="model_comp_task_id is empty"):
            call(value)
    assert emulator.world.calls == []


UNITS = {
    "replicasCount": 1,
    "deploymentComputeUnitList": [{"instanceId": "unit-1", "deploymentReplicasCount": 1}],
}
NEW_SERVICE: dict[str, Any] = {
    "name": "chat",
    "url_suffix": "chat-1",
    "model_set_id": "am-1",
    "model_id": SOURCE,
    "deployment_config": UNITS,
}


@pytest.mark.parametrize("more", [{}, {"description": "text", "protocol_version": 2}])
def test_services(emulator: EmulatorServer, more: dict[str, Any]) -> None:
    emulator.world.behaviour.modify_unready = "accepted"
    emulator.world.behaviour.update_seconds = 0
    hook = QianfanHook()

    service_id = hook.create_service(**NEW_SERVICE, **more)

    assert emulator.world.calls[-1].body == {
        "name": "chat",
        "urlSuffix": "chat-1",
        "modelSetId": "am-1",
        "modelId": SOURCE,
        "deploymentConfig": UNITS,
        **({"description": "text", "protocolVersion": 2} if more else {}),
    }
    hook.modify_service(service_id, model_set_id="am-2", model_id="amv-2")
    service = hook.get_service(service_id)
    assert service
    assert (service["modelSetId"], service["modelId"]) == ("am-2", "amv-2")


@pytest.mark.parametrize("fault", [{"body": {"result": False}}, {"body": {}}, {"server_error": 502}])
def test_what_changes_a_service_is_sent_once(emulator: EmulatorServer, fault: dict[str, Any]) -> None:
    emulator.world.faults.append(Fault(**fault))
    hook = QianfanHook()

    with pytest.raises(QianfanError):
        hook.modify_service("svco-1", model_set_id="am-2", model_id="amv-2")
    with pytest.raises(QianfanError):
        hook.create_service(**NEW_SERVICE)

    assert len(emulator.world.calls) == 2


def test_a_service_that_the_answer_does_not_hold(emulator: EmulatorServer) -> None:
    emulator.world.behaviour.not_found = "null_result"

    assert QianfanHook().get_service("svco-nobody") is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"name": "c"}, "name='c'"),
        ({"url_suffix": "C1"}, "url_suffix='C1'"),
        ({"model_id": ""}, "model_id is empty"),
        ({"model_set_id": ""}, "model_set_id is empty"),
        ({"description": "d" * 501}, "description has 501 characters"),
    ],
)
def test_a_service_that_cannot_be_meant(emulator: EmulatorServer, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        QianfanHook().create_service(**{**NEW_SERVICE, **wrong})
    with pytest.raises(ValueError, match="model_id is empty"):
        QianfanHook().modify_service("svco-1", model_set_id="am-1", model_id="")
    with pytest.raises(ValueError, match="service_id is empty"):
        QianfanHook().get_service(" ")
    assert emulator.world.calls == []


@pytest.mark.parametrize("marker", ["inclusive", "exclusive", "overlapping"])
def test_iterating_follows_the_pages_as_needed(emulator: EmulatorServer, marker: Any) -> None:
    emulator.world.behaviour.marker = marker
    for number in range(257):
        emulator.world.tasks.add(TaskSpec(SOURCE if number % 2 else "amv-other", created=-float(number)))
    hook = QianfanHook()

    ids = [row["id"] for row in hook.iter_rows("/v2/model", "DescribeModelCompTasks", "modelCompTaskList")]
    assert len(ids) == len(set(ids)) == 257
    assert emulator.world.count("DescribeModelCompTasks") == 3

    assert next(hook.iter_model_comp_tasks())
    assert emulator.world.count("DescribeModelCompTasks") == 4
    emulator.world.behaviour.ignore_source_filter = True
    assert len(list(hook.iter_model_comp_tasks(SOURCE))) == 128


def test_iterating_ends(emulator: EmulatorServer) -> None:
    emulator.world.faults.append(Fault(endless_paging="same_marker"))
    with pytest.raises(QianfanTransientError):
        list(QianfanHook().iter_model_comp_tasks())


def test_any_action_can_be_called(emulator: EmulatorServer) -> None:
    hook = QianfanHook()

    assert (
        hook.call("/v2/model", "DescribeModelCompTasks", {"maxKeys": 1})["result"]["pageInfo"]["maxKeys"] == 1
    )
    with pytest.raises(QianfanAPIError):
        hook.call("/v2/model", "NoSuchAction")


def test_the_session_signs(emulator: EmulatorServer) -> None:
    session = QianfanHook().get_conn()

    assert isinstance(session, requests.Session)
    answer = session.post("/v2/model", params={"Action": "DescribeModelCompTasks"}, json={"maxKeys": 1})
    assert answer.status_code == 200
    assert "千" not in answer.text


def test_the_session_signs_for_its_endpoint_only(emulator: EmulatorServer) -> None:
    with pytest.raises(ValueError, match=r"signs requests to http://127\.0\.0\.1:\d+ only"):
        QianfanHook().get_conn().get("http://127.0.0.1:1/")


def test_the_session_follows_no_redirect(emulator: EmulatorServer) -> None:
    emulator.world.faults.append(Fault(redirect=f"{emulator.url}/elsewhere"))

    answer = QianfanHook().get_conn().post("/v2/model", params={"Action": "DescribeModelCompTasks"}, json={})
    assert answer.status_code == 302


def test_the_session_signs_temporary_keys(emulator: EmulatorServer, connect: Any) -> None:
    emulator.world.accounts = [Account(session_token="tok/en")]

    assert connect(emulator.connection_uri).test_connection()[0]
    answer = (
        connect(emulator.connection_uri)
        .get_conn()
        .post("/v2/model", params={"Action": "DescribeModelCompTasks"}, json={})
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("account", "told"),
    [
        ({}, "accepts the key"),
        ({"secret_access_key": "other"}, "Secret Access Key"),
        ({"access_key_id": "other"}, "Access Key ID (login): it is not known"),
        ({"permission": "none"}, "QianfanModelTuningReadAccessPolicy"),
    ],
)
def test_testing_a_connection(emulator: EmulatorServer, account: dict[str, Any], told: str) -> None:
    emulator.world.accounts = [Account(**account)]

    good, message = QianfanHook().test_connection()

    assert good is not bool(account)
    assert told in message


def test_testing_a_connection_tells_of_a_wrong_host(connect: Any) -> None:
    good, message = connect("qianfan://AK:SK@http%3A%2F%2F127.0.0.1%3A1").test_connection()

    assert not good
    assert "Check the host (default https://qianfan.baidubce.com)" in message
    assert "refused" in message


def test_testing_a_connection_is_quick(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_qianfan.hooks.qianfan.LONGEST_TEST", 0.3)
    emulator.world.faults.append(Fault(latency=5))
    began = time.monotonic()

    good, message = QianfanHook().test_connection()

    assert not good
    assert "did not answer as the platform does" in message
    assert time.monotonic() - began < 3
    assert emulator.world.count("DescribeModelCompTasks") <= 1


@pytest.mark.parametrize(("skew", "told"), [(7200, "2 hours behind"), (-7200, "2 hours ahead of")])
def test_testing_a_connection_tells_of_a_wrong_clock(
    emulator: EmulatorServer, skew: float, told: str
) -> None:
    emulator.world.faults.append(Fault(skew=skew))

    good, message = QianfanHook().test_connection()

    assert good
    assert f"the clock of this machine is {told} the platform's" in message


if AIRFLOW_3:

    def test_the_form_is_the_same_for_older_airflows(monkeypatch: pytest.MonkeyPatch) -> None:
        """3.0 and 3.1 read it from the hook, which names libraries that newer ones do not have."""
        made: dict[str, Any] = {}

        def field(kind: str) -> Any:
            return lambda label, widget, description: made.setdefault(label, (kind, widget, description))

        fields = {"StringField": field("string"), "PasswordField": field("password")}
        widgets = {"BS3TextFieldWidget": lambda: "text", "BS3PasswordFieldWidget": lambda: "dots"}
        monkeypatch.setitem(sys.modules, "wtforms", SimpleNamespace(**fields))
        monkeypatch.setitem(sys.modules, "flask_appbuilder", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "flask_appbuilder.fieldwidgets", SimpleNamespace(**widgets))
        info: Any = get_provider_info()
        (described,) = info["connection-types"]

        assert list(QianfanHook.get_connection_form_widgets()) == list(described["conn-fields"])
        assert made == {
            item["label"]: (
                *(("password", "dots") if "format" in item["schema"] else ("string", "text")),
                item["description"],
            )
            for item in described["conn-fields"].values()
        }
        assert QianfanHook.get_ui_field_behaviour() == {
            "hidden_fields": ["schema"],
            "relabeling": described["ui-field-behaviour"]["relabeling"],
            "placeholders": described["ui-field-behaviour"]["placeholders"],
        }

else:

    def test_the_form_of_2_11() -> None:
        from wtforms import Form

        (described,) = get_provider_info()["connection-types"]
        form = type("ConnectionForm", (Form,), QianfanHook.get_connection_form_widgets())()

        assert {field.name: (field.label.text, field.description) for field in form} == {
            name: (field["label"], field["description"]) for name, field in described["conn-fields"].items()
        }

    @pytest.mark.parametrize(
        ("stored", "shown"), [("tok/en", "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"), (None, "")]
    )
    def test_the_form_of_2_11_keeps_a_secret(airflow_db: None, stored: str | None, shown: str) -> None:
        """It would delete a secret that comes back empty, and put back one of which its placeholder comes."""
        from wtforms import Form

        form = type("ConnectionForm", (Form,), QianfanHook.get_connection_form_widgets())()
        form.session_token.data = stored

        drawn = form.session_token()

        assert 'type="password"' in drawn
        assert f'value="{shown}"' in drawn


def test_extras_that_mean_nothing_are_named(
    emulator: EmulatorServer, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(qianfan, "_WARNED", set())
    monkeypatch.setattr(
        QianfanHook, "log", SimpleNamespace(warning=lambda text, *values: warnings.append(text % values))
    )
    uri = f"{emulator.connection_uri}?time_out=5&timeout=5&extra__qianfan__verify=x&proxies=p"
    told = "Ignoring unknown extra: time_out, proxies. Known are proxy, session_token, timeout, verify."

    for _ in range(2):
        connect(uri).list_model_comp_tasks()

    assert warnings == [f"Connection 'qianfan_default': {told}"]
    good, message = connect(uri).test_connection()
    assert good
    assert message.endswith(told)


def test_testing_a_connection_that_is_not_whole(connect: Any) -> None:
    good, message = connect({}).test_connection()

    assert not good
    assert "password" in message


def test_secrets_are_masked(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[Any] = []
    monkeypatch.setattr("airflow_provider_qianfan.hooks.qianfan.mask_secret", masked.append)
    emulator.world.accounts = [Account(session_token="tok/en")]
    proxy = "http%3A%2F%2Fuser%3Aproxy-password%40proxy"
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", f"{emulator.connection_uri}&proxy={proxy}")

    settings = QianfanHook().settings

    assert masked == [emulator.world.account.secret_access_key, "tok/en", "proxy-password"]
    assert not any(secret in repr(settings) for secret in masked)


def test_a_hook_can_be_used_after_it_was_closed(emulator: EmulatorServer) -> None:
    hook = QianfanHook(retry=RetryPolicy(tries=1))
    hook.list_model_comp_tasks()
    hook.close()

    assert hook.list_model_comp_tasks() == []


def test_a_hook_is_closed_at_the_end_of_its_block(emulator: EmulatorServer) -> None:
    with QianfanHook() as hook:
        hook.list_model_comp_tasks()
        hook.get_conn()

    assert hook._driver is None
    assert hook._session is None
