"""
A user's DAG that uses every public name, and makes every mistake that a type checker can find.

mypy reads it, strictly: ``make typecheck`` beside the source, ``make wheel`` beside the installed wheel. A
line with ``type: ignore`` is a mistake. If there is nothing to ignore, mypy reports that.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.sdk import Asset, AssetAlias, BaseOperator, Context, dag, task

from airflow_provider_qianfan.api.exchange import RetryPolicy
from airflow_provider_qianfan.assets.finished import FinishedModelCompTask, finished_tasks
from airflow_provider_qianfan.assets.qianfan import qianfan_model, qianfan_model_set, qianfan_service
from airflow_provider_qianfan.exceptions import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanGateError,
    QianfanModelIdMissingError,
    QianfanModelUnusableError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanResourceAmbiguousError,
    QianfanResourceExistsError,
    QianfanResourceFailedError,
    QianfanResourceNotFoundError,
    QianfanTaskAmbiguousError,
    QianfanTaskExistsError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
    QianfanTransientError,
)
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.links import QianfanConsoleLink
from airflow_provider_qianfan.operators.model_compression import (
    QianfanCancelModelCompTaskOperator,
    QianfanCreateModelCompTaskOperator,
    QianfanListModelCompTasksOperator,
)
from airflow_provider_qianfan.operators.service import (
    QianfanCreateServiceOperator,
    QianfanModifyServiceOperator,
)
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor
from airflow_provider_qianfan.triggers.model_compression import (
    QianfanModelCompTaskEventTrigger,
    QianfanModelCompTaskTrigger,
)
from airflow_provider_qianfan.triggers.waiting import QianfanTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.triggers.base import BaseTrigger

    from airflow_provider_qianfan.api.model_compression import ModelCompTask

log = logging.getLogger(__name__)

FINISHED, TAKEN = Asset("finished"), Asset("taken")


@dag(schedule=None, start_date=pendulum.datetime(2024, 1, 1), default_args={"retries": 2})
def user_dag() -> None:
    @task
    def compress(source_model_id: str) -> str:
        hook = QianfanHook("qianfan_default", retry=RetryPolicy(tries=2))
        tasks: list[ModelCompTask] = hook.list_model_comp_tasks(source_model_id)
        unfinished = [t for t in tasks if t.status == "running"]
        if unfinished:
            return unfinished[0].id
        return create(hook, source_model_id)

    task_id = compress("amv-1")
    models, service = AssetAlias("compressed"), qianfan_service("svco-1", extra={"team": "chat"})
    source: Asset = qianfan_model("amv-1")
    compressed = QianfanModelCompTaskSensor(
        task_id="wait_for_compression",
        source_model_id="{{ params.source_model_id }}",
        model_comp_task_id="{{ ti.xcom_pull(task_ids='compress') }}",
        name="compress-{{ ds }}",
        created_after=datetime(2024, 1, 1, tzinfo=UTC),
        if_several="newest",
        wait_for_model_ready=True,
        qianfan_conn_id="qianfan_default",
        deferrable=True,
        settle=60,
        max_unhealthy=timedelta(hours=2),
        auth_grace=0.5,
        poke_interval=30,
        timeout=timedelta(hours=12),
        soft_fail=False,
        asset=models,
        inlets=[source],
    )
    ready = QianfanModelSensor(
        task_id="wait_for_model",
        model_id=compressed.output["modelId"],
        qianfan_conn_id="qianfan_default",
        deferrable=True,
        settle=60,
        max_unhealthy=timedelta(hours=2),
        auth_grace=timedelta(minutes=10),
        asset=qianfan_model_set("am-1"),
    )
    created = QianfanCreateModelCompTaskOperator(
        task_id="create",
        name="compress-{{ ds }}",
        source_model_id="amv-1",
        model_set_id="am-1",
        config={"strategy": "Quantization", "weight": "INT8-PTQ"},
        description="nightly",
        nonce="{{ var.value.get('compress_again', 'no') }}",
        if_exists="adopt",
        settle=timedelta(minutes=3),
        wait_for_completion=True,
        wait_for_model_ready=True,
        cancel_on_kill=True,
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=12),
        max_unhealthy=timedelta(hours=2),
        auth_grace=600,
        asset=models,
        qianfan_conn_id="qianfan_default",
    )
    cancelled = QianfanCancelModelCompTaskOperator(
        task_id="cancel",
        model_comp_task_id=created.output["model_comp_task_id"],
        wait_for_completion=True,
        poke_interval=5,
        timeout=timedelta(minutes=5),
        qianfan_conn_id="qianfan_default",
    )
    listed = QianfanListModelCompTasksOperator(
        task_id="list_tasks",
        source_model_id="amv-1",
        statuses=["succeeded", "failed"],
        name="compress",
        created_after="2024-01-01",
        finished_after=timedelta(days=1),
        failure_reasons=True,
        limit=None,
        qianfan_conn_id="qianfan_default",
    )

    @task
    def deploy(model_id: str, tasks: Sequence[dict[str, Any]]) -> None:
        log.info("Deploying %s, one of %d", model_id, len(tasks))

    served = QianfanServiceSensor(
        task_id="wait_for_service",
        service_id="svco-1",
        model_id=ready.output,
        qianfan_conn_id="qianfan_default",
        deferrable=None,
        settle=60,
        max_unhealthy=7200,
        auth_grace=600,
        asset=service,
    )

    updated = QianfanModifyServiceOperator(
        task_id="update_service",
        service_id="svco-1",
        model_id=ready.output,
        model_set_id="am-1",
        settle=60,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=timedelta(seconds=30),
        timeout=3600,
        max_unhealthy=7200,
        auth_grace=600,
        asset=service,
        qianfan_conn_id="qianfan_default",
    )
    made = QianfanCreateServiceOperator(
        task_id="create_service",
        name="chat",
        url_suffix="chat",
        model_id=updated.output["previous_model_id"],
        deployment_config={"replicasCount": 1, "deploymentComputeUnitList": [{"instanceId": "unit-1"}]},
        model_set_id=updated.output["previous_model_set_id"],
        description="nightly",
        protocol_version=2,
        nonce="1",
        if_exists="fail",
        settle=60,
        wait_for_completion=True,
        deferrable=False,
        poke_interval=30,
        timeout=timedelta(hours=1),
        max_unhealthy=7200,
        auth_grace=600,
        asset=AssetAlias("services"),
        qianfan_conn_id="qianfan_default",
    )

    @task(inlets=[FINISHED, TAKEN], outlets=[TAKEN], max_active_tis_per_dag=1)
    def take(**context: Any) -> list[FinishedModelCompTask]:
        return finished_tasks(context, taken=TAKEN)

    @task
    def deploy_finished(finished: FinishedModelCompTask) -> None:
        model_id: str | None = finished["model_id"]
        config: dict[str, Any] = finished["config"] or {}
        log.info("%s of %s: %s", model_id, finished["source_model_id"], config.get("weight"))

    deploy_finished.expand(finished=take())
    task_id >> compressed >> created >> cancelled
    deploy(ready.output, listed.output) >> served >> Retire(task_id="retire", source_model_id="amv-1")
    deploy(made.output["service_id"], listed.output)


def create(hook: QianfanHook, source_model_id: str) -> str:
    config = {"strategy": "Quantization", "weight": "INT8-PTQ"}
    try:
        return hook.create_model_comp_task(
            name="compress",
            source_model_id=source_model_id,
            model_set_id="am-1",
            config=config,
            description="nightly",
        )
    except QianfanRateLimitError as error:
        log.warning("Try again in %.0f s", error.retry_after or 60.0)
    except QianfanConfigurationError as error:
        print(error)
    except QianfanAuthError as error:
        log.warning("%s", error.code)
    except QianfanAPIError as error:
        log.warning("%s: %d %s (%s)", error.action, error.http_status, error.message, error.request_id)
    except QianfanTransientError as error:
        log.warning("Sent: %s", error.sent)
    except (QianfanProtocolError, QianfanError):
        log.exception("Not created")
    raise RuntimeError("Not created")


class Retire(BaseOperator):
    """Deletes the tasks of a source model; a user's own operator, with our link."""

    template_fields: Sequence[str] = ("source_model_id",)
    operator_extra_links = (QianfanConsoleLink(),)

    def __init__(self, *, source_model_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source_model_id = source_model_id

    def execute(self, context: Context) -> None:
        log.info("%s", [finished["event_id"] for finished in finished_tasks(context)])
        hook = QianfanHook(qianfan_conn_id="qianfan_default")
        accepted: bool
        accepted, told = hook.test_connection()
        if not accepted:
            raise RuntimeError(told)
        for found in hook.iter_model_comp_tasks(self.source_model_id):
            age: timedelta | None = datetime.now(UTC) - found.create_time if found.create_time else None
            log.info("%s made %s of %s %s ago", found.name, found.model_id, found.source_model_id, age)
            hook.cancel_model_comp_task(found.id)
            again = hook.get_model_comp_task(found.id)
            if again is not None:
                log.info("%s: %s", again.failed_reason, dict(again.json))
            hook.delete_model_comp_task(found.id)
        rows: list[dict[str, Any]] = list(hook.iter_rows("/v2/service", "DescribeServices", "serviceList"))
        answer: dict[str, Any] = hook.call(
            "/v2/model", "DescribeModel", {"modelId": "amv-1"}, repeatable=True
        )
        with hook.get_conn() as session:
            status: int = session.post("/v2/model", params={"Action": "DescribeModel"}, json={}).status_code
        log.info("%s %s %d", rows, answer, status)
        service_id: str = hook.create_service(
            name="chat",
            url_suffix="chat",
            model_set_id="am-1",
            model_id="amv-1",
            deployment_config={"replicasCount": 1},
            description="nightly",
            protocol_version=1,
        )
        hook.modify_service(service_id, model_set_id="am-1", model_id="amv-2")
        described: dict[str, Any] | None = hook.get_service(service_id)
        log.info("%s", described)
        hook.close()


def is_final(error: Exception) -> bool:
    verdicts: tuple[type[QianfanGateError], ...] = (
        QianfanModelIdMissingError,
        QianfanResourceAmbiguousError,
        QianfanResourceExistsError,
        QianfanResourceFailedError,
        QianfanResourceNotFoundError,
        QianfanModelUnusableError,
        QianfanTaskAmbiguousError,
        QianfanTaskExistsError,
        QianfanTaskFailedError,
        QianfanTaskNotFoundError,
    )
    return isinstance(error, verdicts)


def watch(selector: dict[str, Any]) -> BaseTrigger:
    log.info("Cancels: %s", QianfanModelCompTaskTrigger(target=selector, cancel_on_kill=True))
    return QianfanTrigger(
        qianfan_conn_id="qianfan_default",
        target=selector,
        memory=None,
        poke_interval=30.0,
        next_look_at=None,
        settle=120,
        max_unhealthy=3600,
        auth_grace=600,
        longest_interval=None,
        deferred_at=None,
        called_in_vain=False,
    )


def event_trigger() -> BaseTrigger:
    return QianfanModelCompTaskEventTrigger(
        statuses=["succeeded", "failed"],
        source_model_id="amv-1",
        name="nightly",
        name_pattern="nightly*",
        qianfan_conn_id="qianfan_default",
        poke_interval=30.0,
        catch_up_from=datetime(2026, 1, 31, tzinfo=UTC),
        look_back=timedelta(minutes=30),
        watcher="nightly",
    )


def mistakes() -> None:
    hook = QianfanHook()
    QianfanHook(1)  # type: ignore[arg-type]
    QianfanHook(conn_id="qianfan_default")  # type: ignore[call-arg]
    QianfanModelCompTaskSensor(task_id="w", source_model_id=1)  # type: ignore[arg-type]
    QianfanModelCompTaskSensor(task_id="w", model_comp_task_id=1)  # type: ignore[arg-type]
    QianfanModelCompTaskSensor(task_id="w", source_model_id="amv-1", created_after=1)  # type: ignore[arg-type]
    QianfanModelCompTaskSensor(task_id="w", source_model_id="amv-1", if_several="first")  # type: ignore[arg-type]
    QianfanModelCompTaskSensor(task_id="w", source_model_id="amv-1", deferrable="yes")  # type: ignore[arg-type]
    QianfanModelCompTaskSensor(task_id="w", source_model_id="amv-1", settle="2m")  # type: ignore[arg-type]
    QianfanModelCompTaskSensor(task_id="w", source_model_id="amv-1", asset="qianfan://model/amv-1")  # type: ignore[arg-type]
    qianfan_model(1)  # type: ignore[arg-type]
    QianfanModelCompTaskSensor("amv-1", task_id="w")  # type: ignore[call-arg]
    create = QianfanCreateModelCompTaskOperator
    create(task_id="c", name="n", source_model_id="amv-1", model_set_id="am-1")  # type: ignore[call-arg]
    create(task_id="c", name="n", source_model_id="amv-1", model_set_id="am-1", config="x")  # type: ignore[arg-type]
    create(task_id="c", name="n", source_model_id="amv-1", model_set_id="am-1", config={}, if_exists="create")  # type: ignore[arg-type]
    QianfanCancelModelCompTaskOperator(task_id="c")  # type: ignore[call-arg]
    QianfanCancelModelCompTaskOperator(task_id="c", model_comp_task_id=1)  # type: ignore[arg-type]
    QianfanListModelCompTasksOperator(task_id="l", statuses=1)  # type: ignore[arg-type]
    QianfanListModelCompTasksOperator(task_id="l", limit="100")  # type: ignore[arg-type]
    QianfanTrigger(poke_interval="30")  # type: ignore[arg-type]
    QianfanModelCompTaskEventTrigger(statuses=1)  # type: ignore[arg-type]
    QianfanModelCompTaskEventTrigger(source_model_id=1)  # type: ignore[arg-type]
    QianfanModifyServiceOperator(task_id="m", service_id="svco-1")  # type: ignore[call-arg]
    QianfanModifyServiceOperator(task_id="m", service_id="svco-1", model_id=None)  # type: ignore[arg-type]
    hook.modify_service("svco-1", "am-1", "amv-1")  # type: ignore[call-arg]
    hook.get_model_comp_task(1)  # type: ignore[arg-type]
    print(hook.get_model_comp_task("amva-1").status)  # type: ignore[union-attr]
    hook.create_model_comp_task(name="n", source_model_id="amv-1", model_set_id="am-1")  # type: ignore[call-arg]
    hook.list_model_comp_tasks(status="failed")  # type: ignore[call-arg]
    hook.call("/v2/model", "DescribeModel", "amv-1")  # type: ignore[arg-type]
    finished_tasks({}, taken="taken")  # type: ignore[arg-type]
    print(finished_tasks({})[0]["modelId"])  # type: ignore[typeddict-item]


DAG = user_dag()
