"""What the docstrings of public classes, and of the emulator's, say of their parameters."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from dataclasses import fields, is_dataclass
from importlib import import_module

import pytest

from tests import public
from tests.docs.pages import ROOT

MODULES = tuple(public.modules("hooks", "operators", "sensors", "triggers"))
CLASSES = {name: made for name, made in public.classes(*MODULES).items() if made.__module__ in MODULES}
FIELD = re.compile(r"^:param (\w+): (.*?)$(?=\n\S|\n\n|\Z)", re.MULTILINE | re.DOTALL)
TEMPLATED = " (templated)"

MEANS_SOMETHING_ELSE = {
    "QianfanCancelModelCompTaskOperator": {"poke_interval", "timeout"},  # with defaults of its own
    "QianfanCreateModelCompTaskOperator": {"name", "source_model_id", "model_set_id"},  # of a new task
    "QianfanCreateServiceOperator": {"name"},  # of a new service
    "QianfanModelCompTaskEventTrigger": {"poke_interval", "statuses"},  # of a watcher
    "QianfanModelSensor": {"model_id"},  # to wait for; no service serves it
}
"""Parameters that have a text of their own, although another class has one of the same name."""


def documented(made: type) -> dict[str, str]:
    """Return what a class says of each of its parameters, as one line."""
    fields = FIELD.findall(inspect.cleandoc(made.__doc__ or ""))
    return {name: " ".join(text.split()) for name, text in fields}


def texts() -> dict[str, dict[str, str]]:
    """Return by parameter and class what is said of it, wherever it has to be the same."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, made in CLASSES.items():
        for parameter, text in documented(made).items():
            if parameter not in MEANS_SOMETHING_ELSE.get(name, ()):
                found[parameter][name] = text.replace(TEMPLATED, "")
    return found


@pytest.mark.parametrize("parameter", sorted(texts()))
def test_what_means_the_same_is_said_in_the_same_words(parameter: str) -> None:
    assert len(set(texts()[parameter].values())) == 1, texts()[parameter]


@pytest.mark.parametrize("name", sorted(MEANS_SOMETHING_ELSE))
def test_what_means_something_else_says_so(name: str) -> None:
    for parameter in MEANS_SOMETHING_ELSE[name]:
        assert documented(CLASSES[name])[parameter].replace(TEMPLATED, "") not in texts()[parameter].values()


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_each_parameter_is_documented(name: str) -> None:
    own = inspect.signature(vars(CLASSES[name])["__init__"]).parameters.values()
    named = {each.name for each in own if each.kind is not each.VAR_KEYWORD} - {"self"}

    assert named <= documented(CLASSES[name]).keys()


@pytest.mark.parametrize("name", sorted(made.__name__ for made in public.tasks()))
def test_what_is_templated_says_so(name: str) -> None:
    said = {parameter for parameter, text in documented(CLASSES[name]).items() if TEMPLATED in text}

    assert said == set(CLASSES[name].template_fields)  # type: ignore[attr-defined]


def keys_of_the_emulator() -> dict[str, type]:
    """Return the dataclasses of the emulator's reference: their fields are the keys of a scenario."""
    page = (ROOT / "docs" / "reference" / "emulator.rst").read_text(encoding="utf-8")
    found, module = {}, ""
    for directive, name in re.findall(r"^\.\. (module|autoclass):: (\S+)$", page, re.MULTILINE):
        if directive == "module":
            module = name
            continue
        where, _, short = (name if "." in name else f"{module}.{name}").rpartition(".")
        made = getattr(import_module(where), short)
        if is_dataclass(made):
            found[short] = made
    return found


@pytest.mark.parametrize("name", sorted(keys_of_the_emulator()))
def test_each_key_of_the_emulator_is_documented(name: str) -> None:
    made = keys_of_the_emulator()[name]
    said = {parameter for base in made.__mro__ for parameter in documented(base)}

    assert {field.name for field in fields(made) if field.init} <= said  # type: ignore[arg-type]
