"""No secret is in a traceback that shows local variables, in a pickle, or in a copy of an exception."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.exchange import RetryPolicy
from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.hooks.qianfan import QianfanHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer

SECRET, TOKEN, PASSWORD = "hu3sh-secret", "hu3sh-token", "hu3sh-password"
SHOWN_AS = (
    *(SECRET, TOKEN, PASSWORD),
    base64.b64encode(f"user:{PASSWORD}".encode()).decode(),
    "bce-auth-v1/emulator",
)


@pytest.fixture
def connect(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., QianfanHook]:
    account = Account(secret_access_key=SECRET, session_token=TOKEN)
    emulator.world.accounts = [account]

    def make(**more: Any) -> QianfanHook:
        extra = {
            "session_token": TOKEN,
            "proxy": f"http://user:{PASSWORD}@127.0.0.1:1",
            "timeout": 0.5,
            **more.pop("extra", {}),
        }
        connection = {
            "conn_type": "qianfan",
            "host": emulator.url,
            "login": account.access_key_id,
            "password": SECRET,
            "extra": extra,
            **more,
        }
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", json.dumps(connection))
        return QianfanHook(retry=RetryPolicy(tries=1))

    return make


def shown(error: BaseException) -> str:
    """What a tool shows that prints tracebacks with local variables, of an error and all before it."""
    told: list[str] = []
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        queue += [each.__cause__, each.__context__]
        told += [repr(each), str(each), repr(each.__dict__)]
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if (
                "airflow_provider_qianfan" in frame.f_code.co_filename
                or "site-packages" in frame.f_code.co_filename
            ):
                told.append(repr(frame.f_locals))
                told += [
                    repr(vars(value)) for value in frame.f_locals.values() if isinstance(value, Exception)
                ]
    return "\n".join(told)


FAILURES: dict[str, tuple[dict[str, Any], Fault | None, Callable[[QianfanHook], object]]] = {
    "a broken connection": ({"extra": {"timeout": "soon"}}, None, lambda hook: hook.settings),
    "a broken proxy": (
        {"extra": {"proxy": f"ftp://user:{PASSWORD}@proxy"}},
        None,
        lambda hook: hook.settings,
    ),
    "a broken key": ({"login": "A K"}, None, lambda hook: hook.settings),
    "nobody listens": ({"host": "http://127.0.0.1:1"}, None, lambda hook: hook.list_model_comp_tasks()),
    "no proxy listens": (
        {"host": "https://qianfan.test"},
        None,
        lambda hook: hook.list_model_comp_tasks(),
    ),
    "a refused key": (
        {"login": "nobody"},
        None,
        lambda hook: hook.list_model_comp_tasks(),
    ),
    "an answer that is none": ({}, Fault(not_json=True), lambda hook: hook.list_model_comp_tasks()),
    "a cut answer": ({}, Fault(truncated_body="content_length"), lambda hook: hook.list_model_comp_tasks()),
    "too slow an answer": ({}, Fault(latency=2), lambda hook: hook.list_model_comp_tasks()),
    "a path that is none": ({}, None, lambda hook: hook.call("model", "DescribeModel")),
    "the session's path": ({}, None, lambda hook: hook.get_conn().get("model")),
    "the session's proxy": (
        {"host": "https://qianfan.test"},
        None,
        lambda hook: hook.get_conn().get("/v2/model"),
    ),
    "the session's answer": ({}, Fault(latency=2), lambda hook: hook.get_conn().post("/v2/model", json={})),
}


@pytest.mark.parametrize(("connection", "fault", "call"), FAILURES.values(), ids=FAILURES)
def test_no_secret_is_in_a_traceback(
    emulator: EmulatorServer,
    connect: Callable[..., QianfanHook],
    connection: dict[str, Any],
    fault: Fault | None,
    call: Callable[[QianfanHook], object],
) -> None:
    if fault is not None:
        emulator.world.faults.append(fault)

    with pytest.raises(Exception) as failure:  # noqa: PT011  whatever it is
        call(connect(**connection))

    told = shown(failure.value)
    assert [secret for secret in SHOWN_AS if secret in told] == []
    again = pickle.loads(pickle.dumps(failure.value)) if "session" not in str(call) else failure.value
    assert str(again) == str(failure.value)
    assert [secret for secret in SHOWN_AS if secret.encode() in pickle.dumps(failure.value)] == []
    assert str(copy.copy(failure.value)) == str(failure.value)


def test_a_pickled_hook_reads_its_connection_again(connect: Callable[..., QianfanHook]) -> None:
    hook = connect(extra={"proxy": None, "timeout": 5})
    assert hook.list_model_comp_tasks() == []
    hook.get_conn()

    kept = pickle.dumps(hook)

    assert [secret for secret in SHOWN_AS if secret.encode() in kept] == []
    assert pickle.loads(kept).list_model_comp_tasks() == []


@pytest.mark.parametrize("part", ["settings", "exchange", "get_conn"])
def test_what_knows_the_key_is_not_pickled(connect: Callable[..., QianfanHook], part: str) -> None:
    hook = connect()
    knows = hook.get_conn() if part == "get_conn" else getattr(hook, part)

    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(knows)
    assert not any(secret in f"{knows!r}" for secret in SHOWN_AS)
