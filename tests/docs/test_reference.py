"""The API page lists everything public, and it is what a release promises."""

from __future__ import annotations

import re

from airflow_provider_qianfan import exceptions
from tests.docs.pages import ROOT
from tests.test_user_dag import CLASSES, FUNCTIONS

PAGE = (ROOT / "docs" / "reference" / "api.rst").read_text(encoding="utf-8")


def listed() -> set[str]:
    """Return what the page lists, each by its full name."""
    found, module = set(), ""
    for directive, name in re.findall(
        r"^\.\. (module|autoclass|autofunction|autodata|automodule):: (\S+)$", PAGE, re.MULTILINE
    ):
        if directive == "module":
            module = name
        elif directive == "automodule":
            assert name == exceptions.__name__
            found |= {f"{name}.{public}" for public in exceptions.__all__}
        else:
            found.add(name if "." in name else f"{module}.{name}")
    return found


def test_the_page_lists_what_is_public() -> None:
    public = {f"{value.__module__}.{name}" for name, value in CLASSES.items()}
    # They live in api/, and are caught under this name.
    raised = {f"{exceptions.__name__}.{name}" for name in exceptions.__all__}
    public = {name for name in public if name.rpartition(".")[2] not in exceptions.__all__} | raised

    public |= {
        "airflow_provider_qianfan.api.model_compression.STATUSES",
        "airflow_provider_qianfan.assets.finished.FinishedModelCompTask",
    }
    public |= {f"{value.__module__}.{name}" for name, value in FUNCTIONS.items()}
    assert listed() == public, "docs/reference/api.rst and what users can reach differ"


def test_the_promise_is_that_page() -> None:
    promise = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Deprecation")[2]

    assert "The names on the page *API reference* are promises" in promise
    assert PAGE.startswith("API reference\n")
