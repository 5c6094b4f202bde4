"""
Check a built wheel and the installation made from it.

Run it with the Python of a venv that has the wheel, never from the source tree: imports must find what a user
gets.
"""

from __future__ import annotations

import importlib
import sys
import zipfile
from importlib import metadata, resources
from pathlib import Path, PurePosixPath
from typing import Any

PACKAGE = "airflow_provider_qianfan"
PUBLIC_MODULES = [PACKAGE, f"{PACKAGE}.exceptions"]


def stray_files(wheel: Path) -> list[str]:
    """Name the files of the wheel that belong neither to the package nor to its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    return [str(n) for n in names if n.parts[0] != PACKAGE and not n.parts[0].endswith(".dist-info")]


def announced_modules(info: dict[str, Any]) -> list[str]:
    """List the modules that the provider announces to Airflow."""
    kinds = ("hooks", "operators", "sensors", "triggers")
    return [module for kind in kinds for entry in info[kind] for module in entry["python-modules"]]


def problems(wheel: Path) -> list[str]:
    """Name everything that is wrong; nothing if the wheel is good."""
    found = [f"the wheel contains {name}" for name in stray_files(wheel)]
    distribution = metadata.distribution("airflow-provider-qianfan")
    (entry_point,) = distribution.entry_points.select(group="apache_airflow_provider")
    info = entry_point.load()()

    if info["versions"][0] != distribution.version:
        found.append(f"get_provider_info says {info['versions'][0]}, the wheel {distribution.version}")
    if not resources.files(PACKAGE).joinpath("py.typed").is_file():
        found.append("py.typed is missing")

    for name in PUBLIC_MODULES + announced_modules(info):
        module = importlib.import_module(name)
        if not Path(module.__file__ or "").is_relative_to(sys.prefix):
            found.append(f"{name} comes from {module.__file__}, not from the wheel")
    for connection_type in info["connection-types"]:
        module_name, _, hook = connection_type["hook-class-name"].rpartition(".")
        if not hasattr(importlib.import_module(module_name), hook):
            found.append(f"{module_name} has no {hook}")
        found += missing_fields(connection_type)
    return found


def missing_fields(connection_type: dict[str, Any]) -> list[str]:
    """Name the fields of the connection form that this Airflow does not draw, or not as described."""
    from airflow_provider_qianfan._compat import FORM

    if not FORM.is_there():
        return []
    kind, fields = connection_type["connection-type"], connection_type["conn-fields"]
    drawn, behaviour = form(kind)
    found = [f"the form lacks {name}" for name in fields if f"extra__{kind}__{name}" not in drawn]
    if behaviour.get("relabeling") != connection_type["ui-field-behaviour"]["relabeling"]:
        found.append(f"the form is labelled {behaviour.get('relabeling')}")
    return found


def form(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that Airflow gives the form, and how it shows the standard ones."""
    try:
        service = importlib.import_module("airflow.api_fastapi.core_api.services.ui.connections")
    except ModuleNotFoundError:  # Airflow 2.11
        manager = importlib.import_module("airflow.providers_manager").ProvidersManager()
        drawn, behaviours = manager.connection_form_widgets, manager.field_behaviours
    else:
        _, drawn, behaviours = service.HookMetaService._get_hooks_with_mocked_fab()
    return dict(drawn), dict(behaviours).get(kind) or {}


if __name__ == "__main__":
    wheel_path = Path(sys.argv[1])
    report = problems(wheel_path)
    print("\n".join(report) or f"{wheel_path.name}: nothing is missing, and nothing else is in it")
    sys.exit(bool(report))
