from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.scenario import Scenario, builtin_scenarios, load
from airflow_provider_qianfan.emulator.schema import ScenarioError
from airflow_provider_qianfan.emulator.world import World
from airflow_provider_qianfan.emulator.yaml_file import LONGEST_FILE
from tests.emulator.client import ask

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["demo", "busy", "stormy", "history", "deploy", "showcase"])
def test_builtin(name: str) -> None:
    scenario = load(name)
    assert scenario.name == name
    assert scenario.description
    assert name in builtin_scenarios()
    World(scenario)


def test_demo_tells_its_story() -> None:
    world = World("demo", ManualClock())

    def look() -> dict[str, tuple[str, str | None]]:
        rows = ask(world, "DescribeModelCompTasks")["modelCompTaskList"]
        return {row["id"]: (row["status"], row.get("modelId")) for row in rows}

    stale = ("succeeded", "amv-demostale001")
    good, bad = "amva-demogood0001", "amva-demofail0001"
    assert look() == {good: ("creating", None), bad: ("creating", None), "amva-demostale001": stale}
    world.advance(2)
    assert look()[good] == look()[bad] == ("running", None)
    world.advance(6)
    assert look()[good] == ("succeeded", "amv-demoquant001")
    assert look()[bad] == ("failed", None)
    detail = ask(world, "DescribeModelCompTask", modelCompTaskId=bad)
    assert detail is not None
    assert detail["failedReason"]


def test_busy_has_two_running_tasks_of_one_source() -> None:
    rows = ask(World("busy"), "DescribeModelCompTasks")["modelCompTaskList"]
    assert [row["status"] for row in rows] == ["running", "running"]
    assert len({row["sourceModelId"] for row in rows}) == 1


def test_history_is_long() -> None:
    assert len(World("history").tasks.existing()) == 257


def test_deploy_tells_its_story() -> None:
    world = World("deploy", ManualClock())

    def look() -> list[tuple[str, str]]:
        return sorted((model.id, model.step(world.now).status) for model in world.models.existing())

    source = ("amv-demogood0001", "Ready")
    assert look() == [source]
    world.advance(8)
    assert look() == [source, ("amv-demoquant001", "Creating")]
    world.advance(6)
    assert look() == [source, ("amv-demoquant001", "Ready")]
    assert ask(
        world,
        "ModifyService",
        serviceId="svco-demochat0001",
        modelSetId="am-demoset00001",
        modelId="amv-demoquant001",
    )


def test_showcase_begins_a_compression_for_whoever_comes() -> None:
    world = World("showcase", ManualClock())

    def newest(source: str = "amv-demogood0001") -> tuple[str, str, str | None]:
        rows = ask(world, "DescribeModelCompTasks", sourceModelId=source)["modelCompTaskList"]
        return rows[0]["id"], rows[0]["status"], rows[0].get("modelId")

    world.advance(3600)
    assert [task.id for task in world.tasks.existing()] == ["amva-demoquant001"]
    assert len(ask(world, "DescribeModelCompTasks")["modelCompTaskList"]) == 1
    assert newest() == ("amva-demogood0001", "creating", None)
    world.advance(49)
    assert newest() == ("amva-demogood0001", "running", None)
    assert newest("amv-demofail0001") == ("amva-demofail0001", "creating", None)
    world.advance(45)
    assert newest() == ("amva-demogood0001", "succeeded", "amv-demofresh0001")
    world.advance(1)
    assert newest() == ("amva-demogood0002", "creating", None)
    world.advance(50)
    assert newest() == ("amva-demogood0002", "succeeded", "amv-demofresh0002")
    world.reset()
    assert newest() == ("amva-demogood0001", "creating", None)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_a_file_may_say(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
description: all of it
accounts:
  - {access_key_id: a, secret_access_key: b, session_token: c, permission: read}
behaviour: {marker: exclusive, order: shuffled, list_lag: 3, time_format: z}
created_tasks:
  timeline: [{status: creating}, {after: 60, status: succeeded, model_id: "amv-{n}"}]
tasks:
  - source_model_id: amv-one
    created: 2026-01-02T03:04:05+08:00
    status: succeeded
    model_id: amv-two
    set: {createTime: "later"}
    omit: [config]
    in_list: {omit: [modelId]}
  - id: amva-{n}
    source_model_id: amv-{n}
    created: -100
    repeat: {count: 3, every: 10}
    timeline:
      - {after: 0, status: running, set: {status: pondering}}
      - {after: 5, status: failed, failed_reason: none at all, in_detail: {set: {x: 1}}}
created_services:
  timeline: [{run_status: Deploying}, {after: 60, run_status: Failed}]
models:
  - {id: amv-one, status: Fail, source_type: Import, set: {isSupportModelComp: null}}
  - {timeline: [{status: Creating}, {after: 5, status: Ready, omit: [model]}], created: 2026-01-02}
services:
  - id: svco-one
    model_id: amv-one
    timeline:
      - {run_status: Serving}
      - {after: 5, update_status: Updating}
      - {after: 9, update_status: None, model_id: amv-two, in_list: {omit: [modelId]}}
faults:
  - {action: "*", from: 2, count: 1, rate_limit: true, retry_after: 1, retry_after_date: true}
  - {after: 5, until: 9, status: 500, body: {code: X}, headers: {A: b}}
""",
    )
    scenario = load(path)
    assert scenario.name == "mine"
    assert scenario.accounts[0].session_token == "c"
    assert scenario.behaviour.list_lag == 3
    assert scenario.tasks[0].created == datetime(2026, 1, 1, 19, 4, 5, tzinfo=UTC)
    assert scenario.faults[0].from_ == 2
    assert scenario.faults[1].body == {"code": "X"}
    assert scenario.created_services.timeline[1].run_status == "Failed"
    assert scenario.services[0].timeline[2].update_status == "None"
    assert list(World(scenario).models) == ["amv-one", "amv-emulated0001"]
    assert list(World(scenario).services) == ["svco-one"]
    assert list(World(scenario).tasks)[1:] == ["amva-0001", "amva-0002", "amva-0003"]


def test_an_empty_file_is_an_empty_world(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")) == Scenario(name="mine")


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        (
            "tsks: []",
            "mine.yaml",
            "unknown key 'tsks'; allowed: accounts, behaviour, created_services, created_tasks",
        ),
        ("- 1", "mine.yaml", "expected a mapping, not [1]"),
        ("{", "mine.yaml", "not YAML"),
        ("tasks: {}", "tasks", "expected a list"),
        ("tasks: [{status: running}]", "tasks[0]", "'source_model_id' is missing"),
        (
            "tasks: [{source_model_id: 5, status: running}]",
            "tasks[0].source_model_id",
            "expected a string, not 5",
        ),
        (
            "tasks: [{source_model_id: x, status: failed, timeline: [{status: running}]}]",
            "tasks[0]",
            "exclude",
        ),
        (
            "tasks: [{source_model_id: x, status: runing}]",
            "tasks[0].status",
            "'runing' is not one of creating, running, succeeded, failed, stopping, stopped",
        ),
        (
            "tasks: [{source_model_id: x, timeline: [{after: 1, status: running}]}]",
            "tasks[0]",
            "first step of 'timeline' is at 'after: 0'",
        ),
        (
            "tasks: [{source_model_id: x, timeline: [{status: creating}, {after: -1, status: failed}]}]",
            "tasks[0]",
            "not in order: [0.0, -1.0]",
        ),
        (
            "tasks: [{source_model_id: x, timeline: [{status: running, model_id: y}]}]",
            "tasks[0].timeline[0]",
            "needs status succeeded",
        ),
        (
            "tasks: [{source_model_id: x, status: running, created: soon}]",
            "tasks[0].created",
            "expected a number or an ISO 8601 time",
        ),
        (
            "tasks: [{source_model_id: x, status: running, set: {createTime: 2026-01-01T00:00:00Z}}]",
            "tasks[0].set.createTime",
            "put quotes around the time",
        ),
        (
            "tasks: [{source_model_id: x, status: running, id: y, repeat: {count: 2}}]",
            "tasks[0]",
            "'id' needs a {n}",
        ),
        (
            "tasks: [{source_model_id: x, id: y, again_after: 60}]",
            "tasks[0]",
            "with 'again_after', 'id' needs a {n}",
        ),
        (
            "tasks: [{source_model_id: x, created: -5, again_after: 60}]",
            "tasks[0]",
            "'again_after' excludes 'repeat' and 'created'",
        ),
        (
            "tasks: [{source_model_id: x, again_after: -1}]",
            "tasks[0]",
            "'again_after' cannot be negative",
        ),
        (
            "tasks: [&t {id: y, source_model_id: x, status: failed}, *t]",
            "mine.yaml",
            "two tasks have the id 'y'",
        ),
        (
            "tasks: [{source_model_id: x, timeline: [{status: running, model_timeline: [{status: Ready}]}]}]",
            "tasks[0].timeline[0]",
            "'model_timeline' needs a 'model_id'",
        ),
        (
            "tasks: [{source_model_id: x, timeline: [{status: succeeded, model_id: y, model_timeline: []}]}]",
            "tasks[0].timeline[0]",
            "'model_timeline' is empty",
        ),
        ("models: [{status: ready}]", "models[0].status", "'ready' is not one of Ready, Creating, Fail"),
        ("models: [{status: Ready, timeline: [{status: Fail}]}]", "models[0]", "exclude each other"),
        ("models: [&m {id: y}, *m]", "mine.yaml", "two models have the id 'y'"),
        ("services: [{}]", "services[0]", "'model_id' is missing"),
        ("services: [{model_id: x, run_status: serving}]", "services[0].run_status", "not one of New, Depl"),
        (
            "services: [{model_id: x, timeline: [{update_status: Updating}]}]",
            "services[0]",
            "the first step of 'timeline' needs a 'run_status'",
        ),
        (
            "services: [{model_id: x, run_status: New, timeline: [{run_status: New}]}]",
            "services[0]",
            "exclude each other",
        ),
        ("services: [&s {id: y, model_id: x}, *s]", "mine.yaml", "two services have the id 'y'"),
        ("created_services: {timeline: []}", "created_services", "'timeline' is empty"),
        ("behaviour: {update_seconds: -1}", "behaviour", "cannot be negative"),
        ("behaviour: {marker: both}", "behaviour.marker", "not one of inclusive, exclusive, overlapping"),
        ("behaviour: {list_lag: -1}", "behaviour", "cannot be negative"),
        ("behaviour: {list_lag: true}", "behaviour.list_lag", "expected a number, not True"),
        ("behaviour: {list_lag: .inf}", "behaviour.list_lag", "expected a number, not inf"),
        ("behaviour: {ignore_source_filter: 1}", "behaviour.ignore_source_filter", "expected true or false"),
        ("accounts: []", "mine.yaml", "needs at least one"),
        ("accounts: [{permission: some}]", "accounts[0].permission", "not one of full, read, tuning"),
        ("faults: [{calls: 2, latency: 1}]", "faults[0].calls", "expected a list, not 2"),
        ("faults: [{calls: [1]}]", "faults[0]", "not what happens"),
        ("faults: [{action: List, latency: 1}]", "faults[0]", "allowed: *, CreateModelCompTask"),
        ("faults: [{seen: 1, latency: 1}]", "faults[0]", "unknown key 'seen'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, place: str, hint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert place in message
    assert hint in message


LAUGHS = "\n".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
CHAIN = "\n".join(f"k{n}: &k{n} [*k{n - 1}]" for n in range(1, 500))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "tasks: &t [*t]",
            "the value that begins in line 1 contains itself; replace the alias (*name) in it",
        ),
        ("\nbehaviour: &b {marker: *b}", "the value that begins in line 2 contains itself"),
        ("tasks: [{source_model_id: x, status: failed, set: &s {a: {b: *s}}}]", "contains itself"),
        ("a: &a {<<: *a}", "contains itself"),
        ("? &a [*a]\n: 1", "contains itself"),
        (f"a: &a [lol, lol]\n{LAUGHS}", "it has more than 20000 values"),
        (
            "a: &a {x: 1}\n" + LAUGHS.replace("[", "{<<: [").replace("]", "]}"),
            "it has more than 20000 values",
        ),
        ("tasks: [" + "1, " * 21_000 + "]", "it has more than 20000 values"),
        (f"k0: &k0 []\n{CHAIN}", "nested more than 50 deep"),
        ("tasks: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("tasks: " + "[" * 100_000, "nested more than 50 deep"),
        ("# " + "x" * LONGEST_FILE, f"it has more than {LONGEST_FILE} bytes"),
        (
            "description: !!python/object/apply:os.system [true]",
            "not YAML: could not determine a constructor",
        ),
        ("description: 2024-99-99", "not YAML: month must be in 1..12"),
        ("description: " + "9" * 5000, "not YAML: Exceeds the limit"),
        ("behaviour: {list_lag: 0x" + "f" * 5000 + "}", "expected a number, not a value too large"),
        ("faults: [{legacy_error: 0x" + "f" * 5000 + "}]", "expected a whole number, not a value too large"),
        ("faults: [{body: [0x" + "f" * 5000 + "]}]", "cannot be written as JSON"),
        ("description: *nobody", "not YAML: found undefined alias"),
        ("description: \x07", "not YAML: unacceptable character"),
    ],
    ids=range(20),
)
def test_no_file_hangs_or_fills_the_memory(tmp_path: Path, text: str, hint: str) -> None:
    path = write(tmp_path, text)
    start = time.process_time()
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert time.process_time() - start < 10
    assert hint in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_aliases_may_repeat(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        tasks:
          - &first {source_model_id: amv-x, status: running, set: &more {x: [1]}}
          - {<<: *first, name: second}
          - {source_model_id: amv-x, status: failed, set: *more}
        """,
    )
    first, second, third = load(path).tasks
    assert first.set == second.set == third.set == {"x": [1]}
    assert (second.name, third.status) == ("second", "failed")


def test_a_mapping_that_contains_itself() -> None:
    more: dict[str, object] = {}
    more["more"] = more
    with pytest.raises(ScenarioError, match="nested more than 50 deep"):
        load({"tasks": [{"source_model_id": "x", "status": "running", "set": more}]})


def test_no_such_scenario() -> None:
    with pytest.raises(
        ScenarioError, match=r"nope: neither a readable file .* nor a built-in scenario .*demo"
    ):
        load("nope")
