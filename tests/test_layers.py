"""Who may import whom, and who tests whom."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import airflow_provider_qianfan

ROOT = Path(airflow_provider_qianfan.__file__).parent
NAME = ROOT.name
TESTS = Path(__file__).parent

BELOW_THE_HOOK = ("api", "gate", "changes")

LAYERS = {
    "api": {"api"},
    "gate": {"api", "gate"},
    "changes": {"api", "gate", "changes"},
    "emulator": {"emulator"},
}
LAYERS["assets"] = {*LAYERS["gate"], "assets", "_compat"}
LAYERS["hooks"] = {*LAYERS["gate"], "hooks", "_compat", "exceptions", "get_provider_info"}
LAYERS["triggers"] = {*LAYERS["hooks"], "changes", "triggers"}
LAYERS["sensors"] = {*LAYERS["triggers"], "sensors", "assets", "_arguments", "_reasons", "_xcoms", "links"}
LAYERS["operators"] = {*LAYERS["sensors"], "operators"}
"""What the modules of a package may import of this provider."""


def modules() -> dict[str, Path]:
    """Return the file of each module, by its name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = (NAME, *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Return which of our modules a module imports, anywhere, also for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return found & known


TESTED_BY = {
    "_arguments": "test_habits",
    "changes.readiness": "changes.test_compression",
    "changes.standstill": "changes.test_once",
    "emulator.__main__": "emulator.test_main",
    "emulator.actions": "emulator.test_app",
    "emulator.behaviour": "emulator.test_scenario",
    "emulator.body": "emulator.test_app",
    "emulator.errors": "emulator.test_app",
    "emulator.model_actions": "emulator.test_tasks",
    "emulator.schema": "emulator.test_scenario",
    "emulator.service_actions": "emulator.test_services",
    "emulator.shelf": "emulator.test_world",
    "emulator.specs": "emulator.test_scenario",
    "emulator.steps": "emulator.test_scenario",
    "emulator.things": "emulator.test_tasks",
    "emulator.yaml_file": "emulator.test_scenario",
    "gate.errors": "test_exceptions",
    "gate.verdict": "gate.test_outcome",
    "hooks._driver": "hooks.test_drivers",
    "hooks._settings": "hooks.test_qianfan",
    "hooks._sockets": "faults.test_hostile",
    "hooks._wire": "hooks.test_session",
    "operators._waiting": "operators.test_create",
    "preload": "test_imports",
    "sensors._own": "operators.test_create",
    "sensors.model": "sensors.test_resources",
    "sensors.service": "sensors.test_resources",
    "triggers._receipts": "triggers.test_watch",
    "triggers._thread": "triggers.test_shared",
}
"""The tests of a module that has no test file of its own name."""

MODULES = modules()
GRAPH = {name: imports(path, set(MODULES)) for name, path in MODULES.items()}


def package(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def test_imports_point_downwards() -> None:
    wrong = {
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if package(module) in LAYERS and package(other) not in LAYERS[package(module)] and other != NAME
    }

    assert wrong == set()


def test_each_module_has_tests_where_they_are_looked_for() -> None:
    tests = {".".join(path.relative_to(TESTS).with_suffix("").parts) for path in TESTS.rglob("test_*.py")}
    without = set()
    for module, path in MODULES.items():
        name = module.partition(".")[2]
        folder, _, own = name.rpartition(".")
        if path.name != "__init__.py" and f"{folder}.test_{own.lstrip('_')}".lstrip(".") not in tests:
            without.add(name)

    assert without == set(TESTED_BY), "give a module tests of its own name, or name them in TESTED_BY"
    assert set(TESTED_BY.values()) <= tests


def test_no_import_circle_not_even_for_types() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_below_the_hook_nothing_needs_airflow() -> None:
    below = [module for module in MODULES if package(module) in BELOW_THE_HOOK]
    code = (
        "import sys, json, importlib; sys.modules['airflow'] = None;"
        "print(json.dumps([importlib.import_module(m).__name__ for m in json.loads(sys.argv[1])]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(below)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == below
