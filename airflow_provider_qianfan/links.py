"""Links from a task in Airflow's UI to the Qianfan console."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_qianfan._compat import BaseOperatorLink, conf
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.arguments import is_rendered_later

if TYPE_CHECKING:
    from airflow_provider_qianfan._compat import BaseOperator

DEFAULT_URL_TEMPLATE = "https://console.bce.baidu.com/qianfan/modelcenter/model/user/list"
"""The list of the account's models. No page of one model compression task is documented."""

SERVICES_URL = "https://console.bce.baidu.com/qianfan/ais/console/onlineService"
"""The list of the account's services."""

log = logging.getLogger(__name__)

_PLACEHOLDERS = ("source_model_id", "model_comp_task_id")


class QianfanConsoleLink(BaseOperatorLink):
    """
    Link to the Qianfan console.

    By default, the link leads to the list of the account's models. If the task is about a service, the link
    leads to the list of the account's services.

    To link to another page, set ``console_url_template`` in the ``[qianfan]`` section of Airflow's
    configuration. The template may contain ``{source_model_id}`` and ``{model_comp_task_id}``. Each becomes
    the task's argument of that name, escaped for a URL, or nothing if the task has no such argument.
    """

    name = "Qianfan console"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Return the URL. Airflow shows it on the task's details.

        If the template is invalid, this logs an error and returns the default page. It does not raise: on
        Airflow 3.0 an error ends the task's process before its callbacks run. It also fails a task that was
        skipped.
        """
        template: str = conf.get("qianfan", "console_url_template", fallback=DEFAULT_URL_TEMPLATE)
        if template == DEFAULT_URL_TEMPLATE:
            about_a_service = hasattr(operator, "service_id") or hasattr(operator, "url_suffix")
            return SERVICES_URL if about_a_service else DEFAULT_URL_TEMPLATE
        values = {name: _escaped(getattr(operator, name, None)) for name in _PLACEHOLDERS}
        try:
            url = template.format(**values)
        except (LookupError, ValueError, AttributeError):
            url = ""
        if not url.startswith(("https://", "http://")):
            log.error(
                "[qianfan] console_url_template=%r is not a template of a web address. It may contain %s, and"
                " no other braces. The link leads to the default page.",
                clean(template),
                " and ".join(f"{{{name}}}" for name in _PLACEHOLDERS),
            )
            return DEFAULT_URL_TEMPLATE
        return url


def _escaped(value: object) -> str:
    return "" if not isinstance(value, str) or is_rendered_later(value) else quote(value, safe="")
