from __future__ import annotations

import json
from importlib import import_module, metadata, resources

import jsonschema

from airflow_provider_qianfan import __version__
from airflow_provider_qianfan.get_provider_info import get_provider_info
from airflow_provider_qianfan.hooks.qianfan import QianfanHook


def test_it_is_what_airflow_expects() -> None:
    schema = json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())

    jsonschema.validate(get_provider_info(), schema)


def test_versions_agree() -> None:
    assert get_provider_info()["versions"][0] == __version__ == metadata.version("airflow-provider-qianfan")


def test_what_it_names_is_there() -> None:
    info = get_provider_info()
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                import_module(module)
    for link in info["extra-links"]:
        module, _, name = link.rpartition(".")
        assert hasattr(import_module(module), name)
    for key in ("asset-uris", "dataset-uris"):
        (uris,) = info[key]
        assert uris["schemes"] == ["qianfan"]
        for role in ("handler", "factory", "to_openlineage_converter"):
            module, _, name = uris[role].rpartition(".")
            assert hasattr(import_module(module), name)
    (connection,) = info["connection-types"]
    module, _, name = connection["hook-class-name"].rpartition(".")
    assert getattr(import_module(module), name) is QianfanHook
    assert connection["connection-type"] == QianfanHook.conn_type
