"""The platform's answers about the service and the model version of these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.api.steps import answer

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Reply


SERVICE, OLD, NEW, OTHER = "svco-1", "amv-old", "amv-new", "amv-other"


SETS = {OLD: "am-old", NEW: "am-new", OTHER: "am-other"}


DETAIL, MODEL, MODIFY = "DescribeService", "DescribeModel", "ModifyService"


SETTLE = 12.0


NOW = 10_000.0


KEY = "update"


def service(model_id: str = OLD, **changed: Any) -> Reply:
    """A service that serves this version, but for what is ``changed``; ``...`` takes a key away."""
    row = {
        "serviceId": SERVICE,
        "name": "chat",
        "runStatus": "Serving",
        "updateStatus": "None",
        "modelId": model_id,
        "modelSetId": SETS[model_id],
        **changed,
    }
    return answer({"result": {key: value for key, value in row.items() if value is not ...}})


def model(status: Any, **changed: Any) -> Reply:
    row = {"modelId": NEW, "modelSetId": "am-new", "status": status, **changed}
    return answer({"result": {key: value for key, value in row.items() if value is not ...}})


GONE = answer({"result": None})
