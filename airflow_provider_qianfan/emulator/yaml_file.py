"""Read YAML from an untrusted file: plain values only, and of limited size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from airflow_provider_qianfan.emulator.schema import DEEPEST, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a scenario file. The longest built-in one has about a thousand.
LONGEST_FILE = 256 * 1024
#: Values in a scenario. Those behind an alias count each time they are used.
MOST_VALUES = 20_000


def read_text(path: str | Path) -> str:
    """
    Return the text of a file.

    :raises OSError, ValueError: if the file cannot be read.
    """
    with Path(path).open("rb") as file:
        raw = file.read(LONGEST_FILE + 1)
    if len(raw) > LONGEST_FILE:
        raise ValueError(f"it has more than {LONGEST_FILE} bytes")
    return raw.decode()


def parse(text: str) -> Any:
    """
    Return the value of a YAML text.

    Aliases may repeat a value. Two things are refused before anything is built: a value that contains itself,
    and aliases of aliases that grow without limit ("billion laughs").

    :raises ScenarioError: if the text is not YAML, or the value contains itself, or is too large or too deep.
    """
    try:
        return _parsed(text)
    except ScenarioError:
        raise
    # PyYAML lets through what int() and date() raise.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ScenarioError(f"not YAML: {' '.join(str(error).split())}") from error


def _parsed(text: str) -> Any:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check_size(root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """A safe loader that gives up at once if a value is too deep. PyYAML takes seconds for that."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEEPEST + 1:
            raise ScenarioError(_TOO_DEEP)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_TOO_DEEP = f"lists and mappings are nested more than {DEEPEST} deep; put less into one another"


def _check_size(root: yaml.Node) -> None:
    for count, _ in enumerate(_nodes(root)):
        if count >= MOST_VALUES:
            raise ScenarioError(
                f"it has more than {MOST_VALUES} values, those behind an alias (*name) counted each time;"
                " write out what is needed, or use 'repeat' for many tasks"
            )


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield each node, as often as it is used."""
    ahead: list[tuple[yaml.Node, tuple[yaml.Node, ...]]] = [(root, ())]
    while ahead:
        node, above = ahead.pop()
        if node in above:
            line = node.start_mark.line + 1
            raise ScenarioError(
                f"the value that begins in line {line} contains itself;"
                " replace the alias (*name) in it by a value"
            )
        if len(above) > DEEPEST:
            raise ScenarioError(_TOO_DEEP)
        yield node
        ahead.extend((child, (*above, node)) for child in _inside(node))


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
