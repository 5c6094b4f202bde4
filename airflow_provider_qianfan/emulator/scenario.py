"""A scenario: a world to start with, and how one is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from airflow_provider_qianfan.emulator import yaml_file
from airflow_provider_qianfan.emulator.behaviour import Account, Behaviour
from airflow_provider_qianfan.emulator.faults import Fault  # noqa: TC001 - the schema reads the hints
from airflow_provider_qianfan.emulator.schema import ScenarioError, read
from airflow_provider_qianfan.emulator.specs import (
    CreatedServices,
    CreatedTasks,
    ModelSpec,
    ServiceSpec,
    TaskSpec,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """
    A fixed answer to an action that the emulator does not know, or should answer differently.

    The caller has to sign the request, but needs no permission. The call changes nothing.

    :param path: the path of the action, such as ``/v2/finetuning``.
    :param action: the name of the action, such as ``DescribeFineTuningTask``.
    :param result: the ``result`` of the answer. Default: null.
    """

    path: str
    action: str
    result: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    The world at its start. ``Scenario()`` is an empty world with one account.

    :param name: the name of the scenario. Default: the name of the file.
    :param description: one line for ``--list-scenarios``.
    :param accounts: the accounts that may call. Default: one.
    :param behaviour: how the platform behaves where the documentation says nothing.
    :param created_tasks: what happens to tasks that a client creates.
    :param created_services: what happens to services that a client creates.
    :param tasks: the model compression tasks.
    :param models: the model versions. Those that a task produces appear by themselves.
    :param services: the services.
    :param faults: the faults, from the start on.
    :param stubs: fixed answers to actions.
    """

    name: str = "empty"
    description: str = ""
    accounts: tuple[Account, ...] = field(default_factory=lambda: (Account(),))
    behaviour: Behaviour = field(default_factory=Behaviour)
    created_tasks: CreatedTasks = field(default_factory=CreatedTasks)
    created_services: CreatedServices = field(default_factory=CreatedServices)
    tasks: tuple[TaskSpec, ...] = ()
    models: tuple[ModelSpec, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    faults: tuple[Fault, ...] = ()
    stubs: tuple[Stub, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a world nobody can call, and two accounts with one key id."""
        keys = [account.access_key_id for account in self.accounts]
        if not keys:
            raise ValueError("'accounts' needs at least one")
        if len(set(keys)) != len(keys):
            raise ValueError("two accounts have the same 'access_key_id'")
        for name in ("tasks", "models", "services"):
            ids = Counter(spec.id for spec in getattr(self, name) if spec.id is not None)
            for taken, count in ids.items():
                if count > 1:
                    raise ValueError(f"two {name} have the id {taken!r}")


def builtin_scenarios() -> dict[str, str]:
    """Return name and YAML text of every packaged scenario."""
    folder = resources.files("airflow_provider_qianfan.emulator").joinpath("scenarios")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name
    )
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def load(source: Scenario | Mapping[str, object] | str | Path) -> Scenario:
    """
    Load a scenario.

    :param source: a scenario, a mapping like a scenario file, the name of a built-in one, or a YAML file.
    :raises ScenarioError: if there is no such scenario, or if it is invalid. The message names the file, the
        key and the allowed values.
    """
    if isinstance(source, Scenario):
        return source
    if isinstance(source, Mapping):
        return read(Scenario, source, "scenario")
    builtin = builtin_scenarios()
    text = builtin.get(str(source))
    if text is None:
        try:
            text = yaml_file.read_text(source)
        except (OSError, ValueError) as error:
            raise ScenarioError(
                f"{source}: neither a readable file ({error}) nor a built-in scenario ({', '.join(builtin)})"
            ) from error
    try:
        data = yaml_file.parse(text)
    except ScenarioError as error:
        raise ScenarioError(f"{source}: {error}") from error
    scenario = read(Scenario, {} if data is None else data, str(source))
    return (
        scenario if isinstance(data, dict) and "name" in data else replace(scenario, name=Path(source).stem)
    )
