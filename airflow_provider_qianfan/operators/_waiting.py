"""An operator that can wait for what it began, as a sensor does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._compat import conf, mapped_arguments
from airflow_provider_qianfan._reasons import ReasoningOperator
from airflow_provider_qianfan.gate.selection import (
    check_literal,
    check_rendered,
    check_seconds,
    check_text,
)


class WaitingOperator(ReasoningOperator):
    """
    Begin something and, if that is asked for, wait for it as the sensor does, which it makes for that.

    What the parameters mean is said by the operators made from this.
    """

    ui_color = "#cfe8d5"

    if TYPE_CHECKING:
        # What a type checker knows of Airflow's XComArg allows neither output["modelId"] nor deploy(output).
        output: Any

    _OPTIONAL: tuple[str, ...]
    """The templated arguments that may be left out."""

    def __init__(
        self,
        *,
        settle: float | timedelta,
        wait_for_completion: bool,
        deferrable: bool | None,
        poke_interval: float | timedelta,
        timeout: float | timedelta | None,
        max_unhealthy: float | timedelta,
        auth_grace: float | timedelta,
        qianfan_conn_id: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settle = check_seconds("settle", settle)
        self.wait_for_completion = wait_for_completion
        if deferrable and not wait_for_completion:
            raise ValueError("deferrable=True needs wait_for_completion=True: there is nothing to wait for.")
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = deferrable
        self.poke_interval = check_seconds("poke_interval", poke_interval)
        self.timeout = None if timeout is None else check_seconds("timeout", timeout)
        self.max_unhealthy = check_seconds("max_unhealthy", max_unhealthy)
        self.auth_grace = check_seconds("auth_grace", auth_grace)
        self.qianfan_conn_id = check_text("qianfan_conn_id", qianfan_conn_id)

    def _check_literals(self, required: Sequence[str]) -> None:
        """Check at parse what is known then."""
        self._given = tuple(argument for argument in self._OPTIONAL if getattr(self, argument) is not None)
        for argument in (*required, *self._given):
            check_literal(argument, getattr(self, argument))

    def _check_optional(self) -> None:
        """Check at start what may be left out: to take a lost value for that would change what is meant."""
        optional = {argument: getattr(self, argument) for argument in self._OPTIONAL}
        check_rendered(optional, {*self._given, *mapped_arguments(self)})
        for argument, value in optional.items():
            if value is not None:
                check_text(argument, value)

    def _for_the_sensor(self) -> dict[str, Any]:
        """Say what the sensor that waits has in common with this operator."""
        more: dict[str, Any] = {} if self.timeout is None else {"timeout": self.timeout}
        return {
            "task_id": self.task_id,
            "qianfan_conn_id": self.qianfan_conn_id,
            "deferrable": self.deferrable,
            "settle": self.settle,
            "max_unhealthy": self.max_unhealthy,
            "auth_grace": self.auth_grace,
            "poke_interval": self.poke_interval,
            "execution_timeout": self.execution_timeout,
            **more,
        }
