"""
The actions of ``/v2/service`` that change something, and the list.

https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy (create), https://cloud.baidu.com/doc/qianfan-api/s/Emwbl485l
(modify), https://cloud.baidu.com/doc/WENXINWORKSHOP/s/0lub6chm4 (list).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import SERVICE_PATH, QianfanError, QianfanProtocolError
from airflow_provider_qianfan.api.paging import Scan
from airflow_provider_qianfan.api.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_qianfan.api.exchange import Exchange, Sending, Steps

CREATE = "CreateService"
MODIFY = "ModifyService"
LIST = "DescribeServices"
ROWS = "serviceList"

LONGEST_DESCRIPTION = 500
PROTOCOL_VERSIONS = (1, 2)
_SHORTEST, _LONGEST = 2, 20
_SUFFIX = re.compile(r"[a-z0-9][a-z0-9_-]*[a-z0-9]")


def check_name(name: str) -> str:
    """
    Check the name of a service: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

    :raises ValueError: if the platform would refuse it.
    """
    if not _SHORTEST <= len(name) <= _LONGEST:
        raise ValueError(
            f"name={clean(repr(name))} has {len(name)} characters. The platform takes {_SHORTEST} to"
            f" {_LONGEST}."
        )
    return name


def check_url_suffix(suffix: str) -> str:
    """
    Check the last part of a service's URL: https://ai.baidu.com/ai-doc/WENXINWORKSHOP/olub6bfdy.

    :raises ValueError: if the platform would refuse it.
    """
    if not _SHORTEST <= len(suffix) <= _LONGEST or not _SUFFIX.fullmatch(suffix):
        raise ValueError(
            f"url_suffix={clean(repr(suffix))}: the platform takes {_SHORTEST} to {_LONGEST} of a-z, 0-9, _"
            " and -, and neither _ nor - at its ends."
        )
    return suffix


def check_description(description: str) -> str:
    """
    Check a description, with the mark in it.

    :raises ValueError: if the platform would refuse it.
    """
    if len(description) > LONGEST_DESCRIPTION:
        raise ValueError(
            f"description has {len(description)} characters, with the mark that an operator puts behind it."
            f" The platform takes {LONGEST_DESCRIPTION}."
        )
    return description


def create_service(exchange: Exchange, body: Mapping[str, Any], sending: Sending | None = None) -> Steps[str]:
    """
    Create a service.

    :param sending: see :meth:`.Exchange.call`.
    :returns: the id of the service.
    :raises QianfanProtocolError: if the answer has no id. The service may have been created.
    """
    answer = yield from exchange.call(SERVICE_PATH, CREATE, body, sending=sending)
    result = answer.get("result")
    service_id = result.get("serviceId") if isinstance(result, dict) else None
    if not isinstance(service_id, str) or not service_id or not service_id.isprintable():
        raise QianfanProtocolError(
            f"{CREATE}: the answer names no service id, but the service may have been created:"
            f" {clean(answer)}"
        )
    return service_id


def modify_service(
    exchange: Exchange, service_id: str, model_set_id: str, model_id: str, sending: Sending | None = None
) -> Steps[None]:
    """
    Have a service updated to another model version.

    :param sending: see :meth:`.Exchange.call`.
    :raises QianfanError: also if the platform answers that it did not update the service.
    :raises QianfanProtocolError: if the answer does not say. The update may have begun.
    """
    body = {"serviceId": service_id, "modelSetId": model_set_id, "modelId": model_id}
    answer = yield from exchange.call(SERVICE_PATH, MODIFY, body, sending=sending)
    if answer.get("result") is False:
        raise QianfanError(
            f"{MODIFY}: the platform did not do it (result: false), and gives no reason (request id"
            f" {clean(answer.get('requestId') or 'not given', 80)}). Look at service {clean(service_id, 80)}"
            " in the Qianfan console."
        )
    if answer.get("result") is not True:
        raise QianfanProtocolError(
            f"{MODIFY}: the answer does not say whether it was done, but the update may have begun:"
            f" {clean(answer)}"
        )


def scan_services(exchange: Exchange, name: str) -> Scan:
    """Begin to read the list. ``name`` is a filter that also finds longer names with it inside."""
    return Scan(exchange, SERVICE_PATH, LIST, ROWS, {"name": name})
