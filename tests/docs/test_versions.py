"""The workflow names the same Airflows as the matrix."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys

import pytest
import yaml

from tests.docs.pages import ROOT


def test_the_workflow_has_each_session() -> None:
    pytest.importorskip("nox")
    command = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), "--list", "--json"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, cwd=ROOT).stdout
    sessions = {each["session"] for each in json.loads(listed) if "tests" in each["tags"]}
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))

    named = set(workflow["jobs"]["airflows"]["strategy"]["matrix"]["session"])

    matrix = runpy.run_path(str(ROOT / "scripts" / "matrix.py"))
    airflows = {each.split("-")[1] for each in sessions if each.startswith("airflow-")}
    assert airflows == set(matrix["AIRFLOWS"])
    # Airflow 3.3 on Python 3.11 is what the other jobs run on.
    assert named | {"airflow-3.3-3.11", "following"} == sessions
