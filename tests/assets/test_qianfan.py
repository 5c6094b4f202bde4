"""The URIs of assets: what they become, what is refused, and what Airflow and OpenLineage make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from airflow.providers.common.compat.assets import Asset

from airflow_provider_qianfan.assets.qianfan import (
    convert_asset_to_openlineage,
    create_asset,
    qianfan_model,
    qianfan_model_set,
    qianfan_service,
    sanitize_uri,
)
from tests.dag_runs import AIRFLOW_3

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("make", "uri"),
    [
        (lambda: qianfan_model("amv-1"), "qianfan://model/amv-1"),
        (lambda: qianfan_model_set("am-1"), "qianfan://model-set/am-1"),
        (lambda: qianfan_service("svco-1"), "qianfan://service/svco-1"),
        (lambda: create_asset(model_id="amv-1"), "qianfan://model/amv-1"),
        (lambda: create_asset(model_set_id="am-1"), "qianfan://model-set/am-1"),
        (lambda: create_asset(service_id="svco-1"), "qianfan://service/svco-1"),
        (lambda: qianfan_model("Other_form.1"), "qianfan://model/Other_form.1"),
        (lambda: qianfan_model("a/b c"), "qianfan://model/a%2Fb%20c"),
    ],
)
def test_an_asset_of_an_id(make: Callable[[], Any], uri: str) -> None:
    made = make()

    assert made.uri == uri
    assert not AIRFLOW_3 or made.name == uri


def test_an_asset_takes_what_airflows_takes() -> None:
    assert qianfan_model("amv-1", extra={"team": "chat"}).extra == {"team": "chat"}
    assert create_asset(service_id="svco-1", extra={"team": "chat"}).extra == {"team": "chat"}


@pytest.mark.parametrize(
    "written",
    [
        "qianfan://model/amv-1",
        "QianFan://MODEL/amv-1",
        "qianfan://model/amv-1/",
        "qianfan://model/amv-1//",
        "qianfan://model/amv-1#part",
        "qianfan://model/amv%2D1",
    ],
)
def test_a_uri_has_one_form(written: str) -> None:
    assert Asset(uri=written).uri == sanitize_uri(urlsplit(written)).geturl() == "qianfan://model/amv-1"


def test_an_id_keeps_its_case() -> None:
    assert Asset(uri="qianfan://model/amv-Aa").uri == "qianfan://model/amv-Aa"


REFUSED = {
    "qianfan://amv-1": "'amv-1' is none of model, model-set, service",
    "qianfan:///amv-1": "'' is none of",
    "qianfan:amv-1": "'' is none of",
    "qianfan://job/amva-1": "'job' is none of",
    "qianfan://model:443/amv-1": "'model:443' is none of",
    "qianfan://model/": "it has no id",
    "qianfan://model": "it has no id",
    "qianfan://model//amv-1": "something follows the id, or precedes it",
    "qianfan://model/amv-1/2": "something follows the id, or precedes it",
    "qianfan://model/amv-1?v=1": "it has a query",
    "qianfan://someone@model/amv-1": "holds no user",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_nonsense_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=r"Write qianfan://model/amv-…, qianfan://model-set/am-…") as refusal:
        sanitize_uri(urlsplit(uri))

    assert REFUSED[uri] in str(refusal.value)


@pytest.mark.parametrize(
    ("uri", "told"),
    {
        "qianfan://model/am-1": r"is the id of a model set \(am-…\)\. Pass the id of a model version",
        "qianfan://model-set/amv-1": "is the id of a model version",
        "qianfan://service/amv-1": "is the id of a model version",
        "qianfan://model/amva-1": "is the id of a model compression task",
        "qianfan://model/None": "holds no value",
        "qianfan://model/amv%0A1": "holds control characters",
        "qianfan://model/{{ ti }}": "the URI is no template.* use an AssetAlias",
    }.items(),
)
def test_what_is_no_id_is_refused(uri: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sanitize_uri(urlsplit(uri))


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2.11 only warns")
def test_airflow_refuses_what_we_refuse() -> None:
    with pytest.raises(ValueError, match="it has no id"):
        Asset(uri="qianfan://model/")


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="holds no user") as refusal:
        sanitize_uri(urlsplit("qianfan://user:hidden@model/amv-1"))

    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize("value", ["", "None", "amva-1", "am-1", "{{ ti }}", None, 7])
def test_what_an_id_cannot_be(value: Any) -> None:
    with pytest.raises(ValueError, match="model_id="):
        qianfan_model(value)


@pytest.mark.parametrize("ids", [{}, {"model_id": "amv-1", "service_id": "svco-1"}])
def test_an_asset_has_one_id(ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"not {len(ids)} of them"):
        create_asset(**ids)


@pytest.mark.parametrize(
    ("asset", "name"),
    [
        (qianfan_model("amv-1"), "model/amv-1"),
        (qianfan_model_set("am-1"), "model-set/am-1"),
        (qianfan_service("svco-1"), "service/svco-1"),
    ],
    ids=lambda value: getattr(value, "uri", value),
)
def test_openlineage_gets_the_same_name(asset: Any, name: str) -> None:
    dataset = convert_asset_to_openlineage(asset, None)

    assert (dataset.namespace, dataset.name) == ("qianfan", name)
    assert f"{dataset.namespace}://{dataset.name}" == asset.uri
