from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_qianfan.gate.wording import describe, name_of
from tests.gate.tasks import task


@pytest.mark.parametrize(
    ("task_id", "name", "words"),
    [
        ("amva-1", "demo", "amva-1 ('demo')"),
        ("amva-1", None, "amva-1"),
        ("a" * 81, "b" * 81, f"{'a' * 80}… ('{'b' * 80}…')"),
        ("a" * 81, None, "a" * 80 + "…"),
    ],
)
def test_name_of(task_id: str, name: str | None, words: str) -> None:
    assert name_of(task(task_id, name=name)) == words


@pytest.mark.parametrize(
    ("status", "created", "config", "words"),
    [
        (
            "running",
            0,
            {"strategy": "量化"},
            'amva-1 (\'demo\'), running, created 2026-01-31T12:00:00+00:00, config {"strategy": "量化"}',
        ),
        ("", None, None, "amva-1 ('demo'), no status, created at an unknown time, config null"),
        (
            "x" * 41,
            0,
            "y" * 121,
            f"amva-1 ('demo'), {'x' * 40}…, created 2026-01-31T12:00:00+00:00, config \"{'y' * 119}…",
        ),
    ],
)
def test_describe(status: str, created: float | None, config: object, words: str) -> None:
    assert describe(replace(task(status=status, created=created), json={"config": config})) == words
