"""Operators for model compression."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._compat import BaseOperator, mapped_arguments
from airflow_provider_qianfan.api.errors import clean
from airflow_provider_qianfan.api.model_compression import STATUSES, ModelCompTask
from airflow_provider_qianfan.gate.selection import (
    Selector,
    check_literal,
    check_rendered,
    check_text,
    is_rendered_later,
    matches,
)
from airflow_provider_qianfan.links import QianfanConsoleLink

if TYPE_CHECKING:
    from airflow.sdk import Context

FILTERS = ("source_model_id", "name", "created_after")
_ROWS_SHOWN = 20
_OLDEST = datetime.min.replace(tzinfo=UTC)


class QianfanListModelCompTasksOperator(BaseOperator):
    """
    List model compression tasks, newest first: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq.

    Reads the whole list, as the platform's order is not documented and it has no filters but the source
    model's. Pushes a list of the tasks as the platform describes them (``id``, ``name``, ``status``,
    ``sourceModelId``, ``modelId``, …); an empty list is a success.

    :param source_model_id: only tasks of this model version, ``amv-…`` (templated).
    :param statuses: only tasks with one of these statuses: ``creating``, ``running``, ``succeeded``,
        ``failed``, ``stopping``, ``stopped``. Default: any (templated).
    :param name: only tasks of exactly this name (templated).
    :param created_after: only tasks not created before this: ISO 8601 text, a date or a datetime; UTC if it
        has no offset; compared at whole seconds. Tasks that do not say when they were created are left out
        (templated).
    :param limit: return the newest so many, default 100: the list is history, and an XCom is not the place
        for all of it. None for all.
    :param qianfan_conn_id: a connection of type ``qianfan``.
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanError: if the platform refuses or gives no answer.
    """

    template_fields: Sequence[str] = ("source_model_id", "statuses", "name", "created_after")
    ui_color = "#e3ecfc"
    operator_extra_links = (QianfanConsoleLink(),)

    if TYPE_CHECKING:
        # What a type checker knows of Airflow's XComArg allows neither output[0] nor report(output).
        output: Any

    def __init__(
        self,
        *,
        source_model_id: str | None = None,
        statuses: Sequence[str] | None = None,
        name: str | None = None,
        created_after: str | date | datetime | None = None,
        limit: int | None = 100,
        qianfan_conn_id: str = "qianfan_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_model_id = source_model_id
        self.statuses = statuses
        self.name = name
        self.created_after = created_after
        self.limit = limit
        self.qianfan_conn_id = check_text("qianfan_conn_id", qianfan_conn_id)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise ValueError(
                f"limit={clean(repr(limit))} is not a number from 1 up. Leave it out for 100, or pass None"
                " for all."
            )
        self._given = tuple(
            argument for argument in (*FILTERS, "statuses") if getattr(self, argument) is not None
        )
        for argument in FILTERS:
            if argument in self._given:
                check_literal(argument, getattr(self, argument))
        if statuses is not None and not is_rendered_later(statuses):
            parts = statuses if isinstance(statuses, list | tuple | set | frozenset) else ()
            if not any(map(is_rendered_later, parts)):
                _check_statuses(statuses)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """List the tasks."""
        from airflow_provider_qianfan.hooks.qianfan import (
            QianfanHook,
        )  # loads what a DAG file's parse need not

        filters = {argument: getattr(self, argument) for argument in FILTERS}
        given = {*self._given, *mapped_arguments(self)}
        check_rendered({**filters, "statuses": self.statuses}, given)
        selector = Selector.check(**filters)
        statuses = None if self.statuses is None else _check_statuses(self.statuses)
        hook = QianfanHook(self.qianfan_conn_id)
        try:
            tasks = hook.list_model_comp_tasks(selector.source_model_id)
        finally:
            hook.close()
        found = [
            task
            for task in tasks
            if matches(task, selector) and (statuses is None or task.status in statuses)
        ]
        found.sort(key=lambda task: task.create_time or _OLDEST, reverse=True)
        kept = found[: self.limit]
        self.log.info("%d of %d model compression tasks fit.\n%s", len(found), len(tasks), _table(kept))
        if len(kept) < len(found):
            self.log.warning("Returning the newest %d of them; raise limit for more.", len(kept))
        return [dict(task.json) for task in kept]


def _check_statuses(statuses: object) -> frozenset[str]:
    if isinstance(statuses, str) or not isinstance(statuses, Sequence | set | frozenset):
        raise ValueError(f"statuses={clean(repr(statuses))} is not a list of statuses.")
    wrong = [status for status in statuses if status not in STATUSES]
    if wrong or not statuses:
        raise ValueError(
            f"statuses={clean(repr(statuses))}: choose from {', '.join(STATUSES)}, or leave it out for all."
        )
    return frozenset(statuses)


def _table(tasks: Sequence[ModelCompTask]) -> str:
    rows = [("ID", "STATUS", "CREATED", "SOURCE MODEL", "PRODUCED MODEL", "NAME")]
    for task in tasks[:_ROWS_SHOWN]:
        created = task.create_time.strftime("%Y-%m-%d %H:%M:%SZ") if task.create_time else "-"
        values = (task.id, task.status, created, task.source_model_id, task.model_id, task.name)
        rows.append(tuple(clean(value or "-", 40) for value in values))  # type: ignore[arg-type]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines + [f"… and {len(tasks) - _ROWS_SHOWN} more"] * (len(tasks) > _ROWS_SHOWN))
