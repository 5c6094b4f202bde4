"""An operator that can wait, as a sensor does, for what it has started."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION, Arguments
from airflow_provider_qianfan._compat import conf
from airflow_provider_qianfan._reasons import ReasoningOperator
from airflow_provider_qianfan.assets._lineage import HasLineage
from airflow_provider_qianfan.gate.arguments import check_seconds
from airflow_provider_qianfan.gate.memory import (
    DEFAULT_AUTH_GRACE,
    DEFAULT_MAX_UNHEALTHY,
    DEFAULT_POKE_INTERVAL,
    DEFAULT_SETTLE,
)
from airflow_provider_qianfan.links import QianfanConsoleLink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Asset, AssetAlias


class WaitingOperator(Arguments, HasLineage, ReasoningOperator):
    """
    Start something. If ``wait_for_completion`` is set, wait for it with the sensor that is made for it.

    The operators made from this say what the parameters mean.
    """

    ui_color = "#cfe8d5"
    operator_extra_links = (QianfanConsoleLink(),)

    def __init__(
        self,
        *,
        settle: float | timedelta | None,
        wait_for_completion: bool,
        deferrable: bool | None,
        poke_interval: float | timedelta | None,
        timeout: float | timedelta | None,
        max_unhealthy: float | timedelta | None,
        auth_grace: float | timedelta | None,
        asset: Asset | AssetAlias | None,
        qianfan_conn_id: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settle = check_seconds("settle", settle, DEFAULT_SETTLE)
        self.wait_for_completion = wait_for_completion
        deferrable = self._if_it_waits("deferrable", deferrable, "there is nothing to wait for", kwargs)
        if deferrable is None:
            configured = conf.getboolean("operators", "default_deferrable", fallback=False)
            deferrable = wait_for_completion and configured
        self.deferrable = deferrable
        self.poke_interval = check_seconds("poke_interval", poke_interval, DEFAULT_POKE_INTERVAL)
        self.timeout = None if timeout is None else check_seconds("timeout", timeout)
        self.max_unhealthy = check_seconds("max_unhealthy", max_unhealthy, DEFAULT_MAX_UNHEALTHY)
        self.auth_grace = check_seconds("auth_grace", auth_grace, DEFAULT_AUTH_GRACE)
        self.qianfan_conn_id = DEFAULT_CONNECTION if qianfan_conn_id is None else qianfan_conn_id
        why = "without it, this task ends before there is something new"
        self._update(self._if_it_waits("asset", asset, why, kwargs) or None)

    @classmethod
    def _asset_of(cls, arguments: Mapping[str, Any]) -> Any:
        return super()._asset_of(arguments) if arguments.get("wait_for_completion") else None

    def _if_it_waits(self, argument: str, value: Any, why: str, arguments: dict[str, Any]) -> Any:
        """
        Return an argument of the wait; False if the task does not wait and only inherits the argument.

        :param why: why the argument needs a wait.
        :param arguments: further arguments of ``__init__``.
        :raises ValueError: if the task does not wait, but sets the argument itself.
        """
        if not value or self.wait_for_completion:
            return value
        if not self._is_inherited(argument, value, arguments):
            given = f"{argument}=True" if value is True else argument
            raise ValueError(f"{given} needs wait_for_completion=True: {why}.")
        return False

    def _for_the_sensor(self) -> dict[str, Any]:
        """Return the arguments that the waiting sensor shares with this operator."""
        more: dict[str, Any] = {} if self.timeout is None else {"timeout": self.timeout}
        return {
            "task_id": self.task_id,
            "qianfan_conn_id": self.qianfan_conn_id,
            "deferrable": self.deferrable,
            "settle": self.settle,
            "max_unhealthy": self.max_unhealthy,
            "auth_grace": self.auth_grace,
            "asset": self.asset,
            "poke_interval": self.poke_interval,
            "execution_timeout": self.execution_timeout,
            **more,
        }
