"""Who may import whom: the layers, without circles, and without Airflow below the hook."""

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

BELOW_THE_HOOK = ("api", "gate", "changes")

LAYERS = {
    "api": {"api"},
    "gate": {"api", "gate"},
    "changes": {"api", "gate", "changes"},
    "emulator": {"emulator"},
}
LAYERS["hooks"] = {*LAYERS["gate"], "hooks", "_compat", "exceptions", "get_provider_info"}
LAYERS["triggers"] = {*LAYERS["hooks"], "changes", "triggers"}
LAYERS["sensors"] = {*LAYERS["triggers"], "sensors", "_arguments", "_reasons", "_xcoms", "links"}
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
