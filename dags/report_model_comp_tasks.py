"""
### A daily report of the account's model compression tasks

How many there are of each status, how long they took, and which failed in the last day: as Markdown in the
log and in the XCom of `report`, for your mail or chat.

Needs a connection `qianfan_default` of type *Baidu AI Cloud Qianfan*.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_qianfan.operators.model_compression import QianfanListModelCompTasksOperator

NEWEST = 500


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,  # the platform tells how things are today, not how they were
    doc_md=__doc__,
    tags=["qianfan", "model compression"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "failures_of_hours": Param(
            24,
            type="integer",
            minimum=1,
            title="Failures of (hours)",
            description="List the tasks that failed in this time before the report.",
        ),
    },
)
def report_model_comp_tasks() -> None:
    # Not filtered by created_after: that leaves out tasks that do not say when they were created.
    listed = QianfanListModelCompTasksOperator(task_id="list_tasks", limit=NEWEST, failure_reasons=True)

    @task
    def report(tasks: list[dict[str, Any]], **context: Any) -> str:
        lines = [f"{len(tasks)} model compression tasks" + ", the newest" * (len(tasks) == NEWEST), ""]
        lines += ["| status | tasks | with times | median | longest |", "|---|---|---|---|---|"]
        for status, count in Counter(row.get("status") for row in tasks).most_common():
            took = [time for row in tasks if row.get("status") == status and (time := seconds(row))]
            middle, longest = (clock(median(took)), clock(max(took))) if took else ("-", "-")
            lines.append(f"| {status} | {count} | {len(took)} | {middle} | {longest} |")
        since = datetime.now(UTC) - timedelta(hours=context["params"]["failures_of_hours"])
        lines += ["", f"Failed since {since:%Y-%m-%d %H:%M} UTC, or at an unknown time:", ""]
        failed = [row for row in tasks if row.get("status") == "failed" and (ended(row) or since) >= since]
        for row in failed:
            because = row.get("failedReason") or "the platform gives no reason"
            lines.append(f"- {row['id']} {row.get('name')!r}, of {row.get('sourceModelId')}: {because}")
        text = "\n".join(lines if failed else [*lines, "none"])
        print(text)
        return text

    report(listed.output)


def instant(text: object) -> datetime | None:
    """Read a time: Qianfan leaves some out, even of tasks that succeeded, or writes 0000-00-00T00:00:00Z."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when if when.tzinfo and when.year > 1 else None


def ended(row: dict[str, Any]) -> datetime | None:
    """Tell when a task ended; if it does not say so, when it was created."""
    return instant(row.get("finishTime")) or instant(row.get("createTime"))


def seconds(row: dict[str, Any]) -> float:
    """Tell how long a task took; 0 if it does not say so, or what it says cannot be."""
    created, finished = instant(row.get("createTime")), instant(row.get("finishTime"))
    return max(0.0, (finished - created).total_seconds()) if created and finished else 0.0


def clock(time: float) -> str:
    """Write seconds as hours, minutes and seconds."""
    return str(timedelta(seconds=round(time)))


DAG = report_model_comp_tasks()
