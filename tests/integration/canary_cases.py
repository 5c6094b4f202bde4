"""
What the canary run does: each operator, sensor and trigger, in each mode, to a good end and to a bad one.

The test reads the cases to play the platform, and the DAG file reads them to make the tasks.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

GOOD, SOCKS = "canary", "canary_socks"
BAD = {
    "wrong_key": "QianfanAuthError",
    "wrong_password": "QianfanConfigurationError",
    "no_proxy": "QianfanTransientError",
    "no_object": "QianfanConfigurationError",
}
"""Connections that have all secrets, and fail: how, in a worker."""

MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False, "poke_interval": 3},
    "reschedule": {"mode": "reschedule", "poke_interval": 10},
    "deferrable": {"deferrable": True, "poke_interval": 3},
}
WAITS = {mode: MODES[mode] for mode in ("poke", "deferrable")}
"""The modes of operators."""

SOURCE, MADE, OTHER, BROKEN = "amv-source", "amv-made", "amv-other", "amv-broken"
LATER, FAILS, NEVER = "later", "fails", "never"
"""What becomes of what is waited for, as soon as all deferred tasks wait."""

UNITS = {
    "replicasCount": 1,
    "deploymentComputeUnitList": [{"instanceId": "unit-1", "deploymentReplicasCount": 1}],
}

LONG = 600
"""Seconds that nobody waits."""

_LOGS = "files: logs/dag_id=plants/"
PLACES: dict[str, tuple[str, ...]] = {
    "task log": (_LOGS,),
    "warning": (_LOGS,),
    "standard output": (_LOGS,),
    "traceback": (_LOGS,),
    "password that the masker would hide": (_LOGS,),
    "XCom": ("tables: xcom.value", "API: GET .*/taskInstances/plant/xcomEntries/planted"),
    "rendered template": (
        "tables: rendered_task_instance_fields.rendered_fields",
        "API: GET .*/taskInstances/plant$",
    ),
    "extra link": ("API: GET .*/taskInstances/plant/links", "tables: xcom.value"),
    "trigger's argument": ("tables: trigger.kwargs", "statements: "),
    "trigger's event": (_LOGS, "statements: "),
    "trigger's log": (rf"{_LOGS}.*\.trigger\.",),
    "metric": ("metrics: ",),
    "OpenLineage event": ("OpenLineage: ",),
    "conf of a run": ("tables: dag_run.conf", "API: GET .*/dagRuns"),
    "note of a task": ("tables: task_instance_note.content", "API: GET .*/taskInstances"),
    "description of a connection": ("tables: connection.description", "API: GET /connections"),
    "encrypted variable": ("tables: variable.val", "API: GET /variables/planted"),
    "asset event": ("tables: asset_event.extra", "API: GET /assets/events"),
    "DAG's documentation": ("tables: serialized_dag.data", "API: GET /dags/plants/details"),
    "import error": ("tables: import_error.stacktrace", "API: GET /importErrors"),
    "test of a connection": ("test: canary",),
    "scheduler": ("files: scheduler.log",),
    "triggerer": ("files: triggerer.log",),
    "dag-processor": ("files: dag-processor.log",),
    "api-server": ("files: api-server.log",),
    "airflow tasks render": ("files: render_plants.log",),
}
"""Where the test plants something, and where it must find it, as regular expressions."""


def plants() -> dict[str, str]:
    """Return what is planted, by place. Only the test and the DAGs of the plants know it."""
    planted: dict[str, str] = json.loads(os.environ["CANARY_PLANTS"])
    return planted


@dataclass(frozen=True)
class Case:
    """
    One task.

    :param kind: the class, by its name.
    :param state: how it ends.
    :param arguments: the arguments of the class.
    :param defers: whether it waits in the triggerer.
    """

    name: str
    kind: str
    state: str
    arguments: dict[str, Any] = field(default_factory=dict)
    defers: bool = False

    @property
    def lasts(self) -> bool:
        """Whether it waits until the test lets it end."""
        by_itself = self.kind in ("QianfanModifyServiceOperator", "QianfanCreateServiceOperator")
        conn_id = self.arguments.get("qianfan_conn_id")
        return self.arguments.get("timeout") == LONG and conn_id not in BAD and not by_itself


def sensor_cases() -> list[Case]:
    cases = []
    for mode, how in MODES.items():
        usual = {**how, "timeout": LONG, "settle": 5}
        defers = mode == "deferrable"
        for fate, state in ((LATER, "success"), (FAILS, "failed"), (NEVER, "failed")):
            given = {**usual, "timeout": 12} if fate == NEVER else usual
            for kind, what in (
                ("QianfanModelCompTaskSensor", {"model_comp_task_id": f"amva-{fate}"}),
                ("QianfanModelSensor", {"model_id": f"amv-{fate}"}),
                ("QianfanServiceSensor", {"service_id": f"svco-{fate}", "model_id": MADE}),
            ):
                if fate != NEVER or kind == "QianfanModelCompTaskSensor":
                    name = f"{kind}_{mode}_{fate}"
                    cases.append(Case(name, kind, state, {**given, **what}, defers))
        kind, what = "QianfanModelCompTaskSensor", {"model_comp_task_id": f"amva-{NEVER}"}
        cut = {**usual, **what, "execution_timeout": 8, "timeout": 30}
        cases.append(Case(f"cut_{mode}", kind, "failed", cut, defers))
        soft = {**usual, "model_comp_task_id": f"amva-{FAILS}", "soft_fail": True}
        cases.append(Case(f"soft_{mode}", kind, "skipped", soft, defers))
        through = {**usual, "model_comp_task_id": f"amva-{LATER}", "qianfan_conn_id": SOCKS}
        cases.append(Case(f"socks_{mode}", kind, "success", through, defers))
        for conn_id in BAD:
            given = {**usual, **what, "qianfan_conn_id": conn_id, "max_unhealthy": 4, "timeout": 20}
            cases.append(Case(f"{conn_id}_{mode}", kind, "failed", given, defers))
    return cases


def operator_cases() -> list[Case]:
    compress, deploy = "QianfanCreateModelCompTaskOperator", "QianfanCreateServiceOperator"
    update, cancel = "QianfanModifyServiceOperator", "QianfanCancelModelCompTaskOperator"
    listing = "QianfanListModelCompTasksOperator"
    new = {"source_model_id": SOURCE, "model_set_id": "am-1", "config": {"strategy": "Sparsity"}, "settle": 2}
    service = {"model_id": MADE, "model_set_id": "am-1", "deployment_config": UNITS, "settle": 2}
    unknown = {**service, "model_set_id": None, "model_id": BROKEN}
    cases = [
        Case("list", listing, "success", {}),
        Case("list_socks", listing, "success", {"qianfan_conn_id": SOCKS}),
        Case("create", compress, "success", {"name": "alone", **new}),
        Case("modify", update, "success", {"service_id": "svco-modify", "model_id": OTHER, "settle": 2}),
        Case("deploy", deploy, "success", {"name": "alone", "url_suffix": "alone", **service}),
        Case("cancel", cancel, "success", {"model_comp_task_id": "amva-cancel"}),
        Case("cancel_none", cancel, "failed", {"model_comp_task_id": "amva-none"}),
        Case("create_broken", compress, "failed", {"name": "broken", **new, "source_model_id": BROKEN}),
        Case("modify_none", update, "failed", {"service_id": "svco-none", "model_id": OTHER, "settle": 2}),
        Case("deploy_broken", deploy, "failed", {"name": "no", "url_suffix": "no", **unknown}),
    ]
    for mode, how in WAITS.items():
        waits = {**how, "wait_for_completion": True, "timeout": LONG}
        defers = mode == "deferrable"
        cases += [
            Case(f"create_{mode}", compress, "success", {"name": f"with-{mode}", **new, **waits}, defers),
            Case(
                f"modify_{mode}",
                update,
                "success",
                {"service_id": f"svco-modify-{mode}", "model_id": OTHER, "settle": 2, **waits},
                defers,
            ),
            Case(
                f"deploy_{mode}",
                deploy,
                "success",
                {"name": f"with-{mode}", "url_suffix": f"with-{mode}", **service, **waits},
                defers,
            ),
        ]
    killed = {"name": "killed", **new, "cancel_on_kill": True, **WAITS["deferrable"]}
    killed |= {"wait_for_completion": True, "timeout": LONG}
    cases.append(Case("create_killed", compress, "failed", killed, defers=True))
    for name, kind, given in (
        ("list", listing, {}),
        ("create", compress, {"name": "refused", **new}),
        ("modify", update, {"service_id": "svco-modify", "model_id": OTHER}),
        ("deploy", deploy, {"name": "refused", "url_suffix": "refused", **service}),
        ("cancel", cancel, {"model_comp_task_id": "amva-cancel"}),
    ):
        for conn_id in ("wrong_key", "wrong_password"):
            cases.append(Case(f"{name}_{conn_id}", kind, "failed", {**given, "qianfan_conn_id": conn_id}))
    return cases


CASES = {case.name: case for case in (*sensor_cases(), *operator_cases())}
