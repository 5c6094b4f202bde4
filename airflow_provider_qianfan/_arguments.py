"""How a task comes by its arguments: written on it, inherited, mapped, rendered."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Self

from airflow_provider_qianfan._compat import from_upstream, render_to_text
from airflow_provider_qianfan.api.json_values import DEEPEST, plain_text
from airflow_provider_qianfan.gate.arguments import TIMES, check_literal, check_rendered, check_text

if TYPE_CHECKING:
    from airflow.sdk import Context

DEFAULT_CONNECTION = "qianfan_default"


class Arguments:
    """
    Do what all operators and sensors of this provider do with their arguments.

    This class goes before Airflow's base class.

    A literal None counts as an argument that is left out. A None that an upstream task returned is an error.
    """

    _TEXTS: ClassVar[tuple[str, ...]]
    """The templated arguments that are text, or a time."""

    _STRUCTURES: ClassVar[tuple[str, ...]] = ()
    """The templated arguments that are lists or dicts."""

    _OPTIONAL: ClassVar[tuple[str, ...]] = ()
    """The texts that may be left out."""

    _written: frozenset[str]
    """
    Names of the arguments in the call that made this task: all others are inherited, or defaults.

    Empty if they are not known. If they are known, ``task_id`` is always among them.
    """

    _given: tuple[str, ...] = ()
    _lost: tuple[str, ...] = ()
    """The parts of lists and dicts that came out as None."""

    def __new__(cls, *_: Any, **arguments: Any) -> Self:
        """Take note of what is written on the task, before Airflow mixes in what is inherited."""
        task = super().__new__(cls)
        before = cls.__mro__[: cls.__mro__.index(Arguments)]
        # A mixin's __new__ may not hand all of them on: then it is not known what is written.
        known = not any("__new__" in vars(one) for one in before)
        object.__setattr__(task, "_written", frozenset(arguments if known else ()))
        return task

    def _is_inherited(self, argument: str, value: object, arguments: Mapping[str, Any]) -> bool:
        """
        Tell whether a value comes from ``default_args``, rather than from the task or a subclass.

        :param arguments: further ones of ``__init__``: Airflow adds ``default_args`` of task, group and DAG.
        """
        inherited = arguments.get("default_args") or {}
        return argument not in self._written and argument in inherited and inherited[argument] == value

    # -- at parse ----------------------------------------------------------------------------------------

    def _check_literals(self) -> None:
        """
        Check the arguments that are known at parse.

        :raises ValueError: if one of them cannot be meant.
        """
        for argument in self._TEXTS:
            if isinstance(value := getattr(self, argument), str):
                setattr(self, argument, plain_text(value))  # of an enum, Jinja would write the member's name
        self._given = tuple(
            argument for argument in (*self._TEXTS, *self._STRUCTURES) if getattr(self, argument) is not None
        )
        for argument in self._TEXTS:
            if argument in self._given or argument not in self._OPTIONAL:
                check_literal(argument, getattr(self, argument))

    # -- when templates are rendered ---------------------------------------------------------------------

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render as Airflow does, also for a mapped task; then undo what native rendering made of text."""
        render = super()._do_render_template_fields  # type: ignore[misc]
        if parent is not self:
            render(parent, template_fields, context, jinja_env, seen_oids)
            return
        written = {
            argument: value
            for argument in (*self._TEXTS, *self._STRUCTURES)
            if argument in template_fields and id(value := getattr(self, argument)) not in seen_oids
        }
        render(parent, template_fields, context, jinja_env, seen_oids)
        rendering = _Rendering(self, context, jinja_env)
        for argument, before in written.items():
            after = getattr(self, argument)
            if argument in self._STRUCTURES:
                after = rendering.with_its_literals(before, after, argument)
            elif rendering.native and isinstance(before, str) and after is not None:
                is_time = argument in TIMES and isinstance(after, date)
                after = after if is_time else rendering.as_text(before, after)
            setattr(self, argument, after)
        self._lost = tuple(rendering.lost)

    # -- at start ----------------------------------------------------------------------------------------

    def _check_arguments(self, context: Context) -> None:
        """
        Check the arguments once they are rendered.

        If a lost value counted as left out, the task would do something else than its author meant.

        :raises ValueError: if an argument came out as None, or cannot be meant.
        """
        values = {argument: getattr(self, argument) for argument in (*self._TEXTS, *self._STRUCTURES)}
        upstream = from_upstream(self, context)  # type: ignore[arg-type]
        given: dict[str, Any] = getattr(self, "_BaseOperator__init_kwargs", {})
        mapped = {
            name: given.get(name)
            for name in upstream & (self._written or upstream) & self._own_parameters()
            if name not in values
        }
        lost = dict.fromkeys(self._lost)
        # The connection's id has its default by now, also if an upstream task returned None.
        named = {name: None for name in ("qianfan_conn_id",) if name in upstream and given.get(name) is None}
        check_rendered({**values, **mapped, **named, **lost}, {*self._given, *upstream, *lost})
        for argument in self._TEXTS:
            value = values[argument]
            # A time is read later, with the start of the run.
            if argument not in TIMES and (value is not None or argument not in self._OPTIONAL):
                setattr(self, argument, check_text(argument, value))

    @classmethod
    def _own_parameters(cls) -> frozenset[str]:
        """Name the parameters of our classes, and of Airflow's sensor, that a user's class is made from."""
        package = __name__.partition(".")[0]
        return frozenset(
            name
            for one in cls.__mro__
            if one.__module__.partition(".")[0] == package or one.__name__ == "BaseSensorOperator"
            if "__init__" in vars(one)
            for name in inspect.signature(vars(one)["__init__"]).parameters
        )


class _Rendering:
    """What was made of a task's templates."""

    def __init__(self, task: Any, context: Context, jinja_env: Any) -> None:
        from jinja2.nativetypes import NativeEnvironment

        self.native = isinstance(jinja_env, NativeEnvironment)
        self.lost: list[str] = []
        self._task, self._context = task, context
        self._text_env: Any = None

    def as_text(self, template: str, otherwise: Any) -> Any:
        """Render as a DAG without native rendering does; return ``otherwise`` if that fails."""
        try:
            if self._text_env is None:
                self._text_env = self._task.get_dag().get_template_env(force_sandboxed=True)
            return render_to_text(self._text_env.from_string(template), self._context)
        except Exception:  # templates are the user's, and may do what only native rendering allows
            return otherwise

    def with_its_literals(self, before: Any, after: Any, name: str, depth: int = 0) -> Any:
        """Return a list or dict with the text that is literally in it, and take note of what got lost."""
        if isinstance(before, str):
            if self.native and self.as_text(before, None) == before:
                return before
            if (after is None or after == "None") and before != after:
                self.lost.append(name)
        elif after is None and before is not None:
            self.lost.append(name)
        elif depth < DEEPEST and isinstance(before, dict) and isinstance(after, dict):
            return {
                key: self.with_its_literals(before[key], part, f"{name}[{key!r}]", depth + 1)
                for key, part in after.items()
                if key in before
            }
        elif depth < DEEPEST and type(before) in (list, tuple) and type(after) is type(before):
            return type(after)(
                self.with_its_literals(was, part, f"{name}[{number}]", depth + 1)
                for number, (was, part) in enumerate(zip(before, after, strict=True))
            )
        return after
