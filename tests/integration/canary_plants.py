"""What plants something in each place: an operator, its link, and a trigger."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink
from airflow.triggers.base import BaseTrigger, TriggerEvent
from openlineage.client.facet_v2 import external_query_run

from airflow_provider_qianfan._compat import metrics
from tests.integration.canary_cases import plants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

FINISH = Path(os.environ["AIRFLOW_HOME"]) / "finish"
"""The test makes this file."""


class PlantedLink(BaseOperatorLink):
    name = "planted"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return f"https://example.com/{plants()['extra link']}"


class PlantedOperator(BaseOperator):
    template_fields = ("planted",)
    operator_extra_links = (PlantedLink(),)

    def __init__(self, *, planted: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planted = planted

    def execute(self, context: Any) -> None:
        planted = plants()
        self.log.debug("%s", planted["task log"])
        print(planted["standard output"])
        warnings.warn(planted["warning"], stacklevel=1)
        context["ti"].xcom_push(key="planted", value={"deep": [planted["XCom"]]})
        print(BaseHook.get_connection("planted").password)
        self.defer(trigger=PlantedTrigger(planted=planted["trigger's argument"]), method_name="resume")

    def resume(self, context: Any, event: Any) -> None:
        self.log.info("The trigger says %s", event)
        if self.task_id == "plant":
            raise ValueError(plants()["traceback"])
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {"planted": plants()["asset event"]}

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage:
        facet = external_query_run.ExternalQueryRunFacet(plants()["OpenLineage event"], "planted")
        return OperatorLineage(run_facets={"externalQuery": facet})


class PlantedTrigger(BaseTrigger):
    def __init__(self, planted: str) -> None:
        super().__init__()
        self.planted = planted

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", {"planted": self.planted}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        planted = plants()
        log.debug("%s", planted["trigger's log"])
        # A name of a metric may have letters and digits only.
        metrics().incr("qianfan." + re.sub(r"\W", "", planted["metric"]))
        await asyncio.sleep(20)  # earlier, Airflow takes a task that resumes for a killed one
        while not FINISH.exists():  # noqa: ASYNC110  until the tables have been read
            await asyncio.sleep(1)
        yield TriggerEvent({"planted": planted["trigger's event"]})
