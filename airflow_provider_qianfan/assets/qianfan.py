"""
Assets whose URI begins with ``qianfan://``.

==================================  =======================
URI                                 asset
==================================  =======================
``qianfan://model/amv-…``           a model version
``qianfan://model-set/am-…``        a model set
``qianfan://service/svco-…``        a service
==================================  =======================

A model compression task has no URI: it is no data, but what makes some. Events and facets name it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.arguments import check_text, is_rendered_later

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from openlineage.client.event_v2 import Dataset

SCHEME = "qianfan"

_KINDS = {"model": "model_id", "model-set": "model_set_id", "service": "service_id"}
"""The first part of a URI, and the argument that the second part is checked as."""

_WRITE = f"Write {SCHEME}://model/amv-…, {SCHEME}://model-set/am-… or {SCHEME}://service/svco-…."


def qianfan_model(model_id: str, **arguments: Any) -> Asset:
    """
    Make the asset of a model version.

    :param model_id: the model version, ``amv-…``.
    :param arguments: further arguments of Airflow's ``Asset``, such as ``extra`` or ``group``.
    :raises ValueError: if the id is empty, a template, or the id of something else.
    """
    return _asset("model", model_id, arguments)


def qianfan_model_set(model_set_id: str, **arguments: Any) -> Asset:
    """
    Make the asset of a model set, which owns model versions.

    :param model_set_id: the model set, ``am-…``.
    :param arguments: further arguments of Airflow's ``Asset``, such as ``extra`` or ``group``.
    :raises ValueError: if the id is empty, a template, or the id of something else.
    """
    return _asset("model-set", model_set_id, arguments)


def qianfan_service(service_id: str, **arguments: Any) -> Asset:
    """
    Make the asset of a service.

    :param service_id: the service, ``svco-…``.
    :param arguments: further arguments of Airflow's ``Asset``, such as ``extra`` or ``group``.
    :raises ValueError: if the id is empty, a template, or the id of something else.
    """
    return _asset("service", service_id, arguments)


def create_asset(
    *,
    model_id: str | None = None,
    model_set_id: str | None = None,
    service_id: str | None = None,
    extra: dict[str, Any] | None = None,
) -> Asset:
    """
    Make an asset of the one id that is given. Airflow's collector of lineage calls this.

    :raises ValueError: if none or several ids are given, or the id cannot be meant.
    """
    ids = {"model": model_id, "model-set": model_set_id, "service": service_id}
    given = {kind: value for kind, value in ids.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"Pass one of {', '.join(_KINDS.values())}, not {len(given)} of them.")
    ((kind, value),) = given.items()
    return _asset(kind, value, {"extra": extra})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Check a URI, and return its one form. Airflow calls this for each asset with such a URI.

    :raises ValueError: if the URI names nothing of Qianfan's. The message says what to write.
    """
    if "@" in uri.netloc:  # not quoted: it may hold a password
        raise ValueError(f"The URI of a Qianfan asset holds no user. {_WRITE}")
    kind, value = uri.netloc.lower(), uri.path.removeprefix("/").rstrip("/")
    wrong = None
    if kind not in _KINDS:
        wrong = f"{kind!r} is none of {', '.join(_KINDS)}"
    elif uri.query:
        wrong = "it has a query"
    elif not value:
        wrong = "it has no id"
    elif "/" in value:
        wrong = "something follows the id, or precedes it"
    if wrong is not None:
        raise ValueError(
            f"{clean(urlunsplit(uri))} is not the URI of a Qianfan asset: {clean(wrong)}. {_WRITE}"
        )
    return SplitResult(SCHEME, kind, f"/{_quoted(kind, unquote(value))}", "", "")


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:  # noqa: ARG001  Airflow's form
    """
    Make OpenLineage's dataset of an asset: namespace ``qianfan``, and a name such as ``model/amv-…``.

    As with BigQuery, the namespace names the platform, and no host.
    """
    from openlineage.client.event_v2 import Dataset

    uri = sanitize_uri(urlsplit(asset.uri))
    return Dataset(namespace=SCHEME, name=f"{uri.netloc}{uri.path}")


def _asset(kind: str, value: str, arguments: dict[str, Any]) -> Asset:
    from airflow_provider_qianfan._compat import asset_classes  # loads Airflow

    made, _ = asset_classes()
    asset: Asset = made(uri=f"{SCHEME}://{kind}/{_quoted(kind, value)}", **arguments)
    return asset


def _quoted(kind: str, value: str) -> str:
    argument = _KINDS[kind]
    if is_rendered_later(value):
        raise ValueError(
            f"{argument}={clean(repr(value))}: Airflow reads the URI of an asset when it parses the DAG file,"
            " so the URI is no template. If the id is known only when the task runs, use an AssetAlias."
        )
    return quote(check_text(argument, value), safe="")
