"""The public modules and classes, as Airflow is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from airflow_provider_qianfan.get_provider_info import get_provider_info


def modules(*kinds: str) -> Iterator[str]:
    """Yield the modules with public hooks, operators, sensors or triggers."""
    info: dict[str, Any] = get_provider_info()
    for kind in kinds:
        for entry in info[kind]:
            yield from entry["python-modules"]


def classes(*names: str) -> dict[str, type]:
    """Return the public classes of modules, by name."""
    return {
        name: value
        for module in names
        for name, value in vars(import_module(module)).items()
        if name.startswith("Qianfan") and isinstance(value, type) and "._" not in value.__module__
    }


def tasks() -> set[type]:
    """Return the operators and the sensors."""
    names = list(modules("operators", "sensors"))
    return {made for made in classes(*names).values() if made.__module__ in names}
