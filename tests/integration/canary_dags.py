"""The DAGs of the canary run: all that the provider does, a user's own task, watchers, and the plants."""

from __future__ import annotations

import logging
import warnings
from datetime import timedelta
from importlib import import_module
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger
from tests.integration.canary_cases import BAD, CASES, GOOD, Case, plants
from tests.integration.canary_plants import PlantedOperator

START = pendulum.datetime(2024, 1, 1)
MODULES = (
    *("sensors.model_compression", "sensors.model", "sensors.service"),
    *("operators.model_compression", "operators.service"),
)
KINDS = {
    name: value
    for module in MODULES
    for name, value in vars(import_module(f"airflow_provider_qianfan.{module}")).items()
}


def make(case: Case) -> None:
    arguments = {"qianfan_conn_id": GOOD, **case.arguments}
    if "execution_timeout" in arguments:
        arguments["execution_timeout"] = timedelta(seconds=arguments["execution_timeout"])
    KINDS[case.kind](task_id=case.name, retries=0, **arguments)


@task
def look_at_everything() -> Any:
    """Do as somebody does who looks for a mistake: print what there is, and fail."""
    hook = QianfanHook(GOOD)
    answer = hook.get_conn().post("/v2/model", params={"Action": "DescribeModelCompTasks"}, json={})
    things = (hook, hook.settings, hook.settings.credentials, hook.exchange, hook.get_conn(), answer.request)
    for each in (*things, answer, answer.headers, answer.raw):
        print(repr(each), repr(getattr(each, "__dict__", "")))
        logging.getLogger(__name__).debug("There is %r", each)
    print(hook.test_connection())
    warnings.warn(f"there is {hook.settings}", stacklevel=1)
    raise ValueError(f"The answer was {answer} from {hook.settings}")


with DAG("canary", schedule=None, start_date=START, max_active_tasks=500):
    for case in CASES.values():
        make(case)
    look_at_everything()


def watched(name: str, conn_id: str) -> Asset:
    trigger = QianfanModelCompTaskEventTrigger(qianfan_conn_id=conn_id, poke_interval=3)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


@task
def hear(**context: Any) -> None:
    print(context["triggering_asset_events"])


for conn_id in (GOOD, *BAD):
    finished = watched(f"finished_{conn_id}", conn_id)
    with DAG(f"canary_events_{conn_id}", schedule=[finished], start_date=START):
        hear()

PLANTED = Asset("planted")

with DAG("plants", schedule=None, start_date=START, doc_md=plants()["DAG's documentation"]):
    PlantedOperator(task_id="plant", planted=plants()["rendered template"], outlets=[PLANTED], retries=0)
    PlantedOperator(task_id="render", planted=plants()["airflow tasks render"], outlets=[PLANTED], retries=0)
