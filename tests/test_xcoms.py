"""A server's text is unchanged after it went through Airflow's own serialization."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qianfan._xcoms import plain
from tests.dag_runs import AIRFLOW

if AIRFLOW >= (3, 2):
    from airflow.sdk.serde import deserialize, serialize
else:
    from airflow.serialization.serde import deserialize, serialize

RESERVED = [
    "__classname__",
    "__version__",
    "__data__",
    "__type",
    "__var",
    "__source",
    "__id__",
    "__class",
    "__class_path",
    "__schema_id__",
]
TRAPS: dict[str, Any] = {
    "an asset": {
        "__classname__": "airflow.sdk.definitions.asset.Asset",
        "__version__": 1,
        "__data__": {"name": "a", "uri": "s3://a", "group": "g", "extra": {}},
    },
    "a time": {"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 0.0}},
    "a time, as before 2.5": {"__type": "datetime.datetime", "__var": 0.0},
    "a dict, as before 2.5": {"__type": "dict", "__var": {"status": "running"}},
    "any class": {"__classname__": "builtins.str", "__version__": 0, "__data__": 1},
    "only half": {"__classname__": "x", "__id__": "y"},
}


def through_airflow(value: Any) -> Any:
    """Push and pull."""
    return deserialize(json.loads(json.dumps(serialize(value))))


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_no_json_becomes_an_object(trap: Any) -> None:
    task = {"id": "amva-1", "config": [trap, {"deeper": trap}], **trap}
    pulled = through_airflow(plain(task))

    assert pulled == plain(task)
    assert type(pulled["config"][0]) is type(pulled["config"][1]["deeper"]) is dict
    assert pulled["config"][0].keys() == {f"_{key}" for key in trap}


@pytest.mark.parametrize("trap", ["an asset", "a time, as before 2.5", "a dict, as before 2.5"])
def test_without_that_they_would(trap: str) -> None:
    """Or the rows above could not fail."""
    try:
        pulled = through_airflow([TRAPS[trap]])
    except (AttributeError, ImportError, TypeError):
        return  # Airflow refuses to push it, or to load it

    assert pulled != [TRAPS[trap]]


keys = st.sampled_from(RESERVED) | st.text("_ab", max_size=4)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
)


@given(documents)
def test_whatever_a_server_writes_stays_plain_json(document: Any) -> None:
    assert through_airflow(plain(document)) == plain(document)


@given(documents, documents)
def test_no_two_become_the_same(one: Any, other: Any) -> None:
    assert (plain(one) == plain(other)) == (one == other)


def test_only_reserved_keys_change() -> None:
    document = {"_a": 1, "a__b": [{"id": "x", "__type": {"__": 1}}], "": None}

    assert plain(document) == {"_a": 1, "a__b": [{"id": "x", "___type": {"___": 1}}], "": None}
