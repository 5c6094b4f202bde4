from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanTransientError
from airflow_provider_qianfan.api.exchange import MAX_ANSWER_BYTES, Endpoint, Exchange, Response
from airflow_provider_qianfan.api.reading import (
    MAX_CONTAINERS,
    MAX_NESTING,
    MAX_QUOTES,
    MAX_VALUES,
    UnreadableError,
    read_object,
    weight,
)
from airflow_provider_qianfan.api.signing import Credentials
from tests.api.steps import Drive

if TYPE_CHECKING:
    from collections.abc import Callable

ROW: dict[str, Any] = {
    "id": "amva-000000000001",
    "name": "压缩 1 “ok” é 😀",
    "description": 'line 1\nline 2\t"quoted" [airflow:0123456789abcdef]',
    "status": "succeeded",
    "sourceModelId": "amv-0123456789ab",
    "modelId": "amv-000000000001",
    "config": {"strategy": "Quantization", "weight": "INT8-PTQ", "sparsityRatio": 0.5},
    "createTime": "2024-03-22T17:13:33+08:00",
}
PAGE: dict[str, Any] = {
    "requestId": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "result": {
        "modelCompTaskList": [ROW] * 100,
        "pageInfo": {"isTruncated": False, "maxKeys": 100, "total": 2**63 - 1},
    },
}


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_a_page_is_read_as_it_is(mark: bytes, ascii_only: bool) -> None:
    assert read_object(mark + json.dumps(PAGE, ensure_ascii=ascii_only).encode()) == PAGE


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc"), json_values), st.booleans(), st.sampled_from([None, 2]))
def test_whatever_can_be_carried_is_read(document: Any, ascii_only: bool, indent: int | None) -> None:
    assert read_object(json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()) == document


@given(st.binary())
def test_whatever_comes_nothing_else_is_raised(body: bytes) -> None:
    try:
        document = read_object(body)
    except UnreadableError:
        return
    assert isinstance(document, dict)


LAST = "result.modelCompTaskList[3]"


def nested(depth: int) -> bytes:
    """An object with lists in it, so many deep altogether."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def row(key: str, value: bytes) -> bytes:
    """A list of four tasks, of which the last has something more."""
    last = f'{{"no": "amva-4", "{key}": '.encode() + value + b"}"
    return b'{"result": {"modelCompTaskList": [{}, {}, {}, ' + last + b"]}}"


UNREADABLE = {
    "empty": (b"", "it is not JSON (Expecting value at character 0)"),
    "a page": (b"<html>", "it is not JSON (Expecting value at character 0)"),
    "cut": (b'{"a": 1', "it is not JSON (Expecting ',' delimiter at character 7)"),
    "two documents": (b"{} {}", "it is not JSON (Extra data at character 3)"),
    "a list": (b"[]", "it is not a JSON object"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "it is not UTF-8 (at byte 0)"),
    "UTF-16 without a mark": (
        '{"a": 1}'.encode("utf-16-le"),
        "it is not JSON (Expecting property name enclosed in double quotes at character 1)",
    ),
    "UTF-32": ('{"a": 1}'.encode("utf-32-be"), "it is not JSON (Expecting value at character 0)"),
    "Latin-1": (b'{"a": "\xe9"}', "it is not UTF-8 (at byte 7)"),
    "a surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "it is not UTF-8 (at byte 7)"),
    "NaN": (row("x", b"NaN"), "result.modelCompTaskList[3].x is NaN, which is not JSON"),
    "Infinity": (row("x", b"-Infinity"), "result.modelCompTaskList[3].x is -Infinity, which is not JSON"),
    "beyond all bounds": (
        row("x", b"[0.5, -1e999]"),
        "result.modelCompTaskList[3].x[1] is a number that is not finite (-1e999)",
    ),
    "a huge integer": (row("x", b"1" * 21), "result.modelCompTaskList[3].x is a number of 21 digits"),
    "an endless integer": (row("x", b"1" * 5000), "result.modelCompTaskList[3].x is a number of 5000 digits"),
    "an endless fraction": (
        row("x", b"0." + b"1" * 500),
        "result.modelCompTaskList[3].x is a number of 502 characters",
    ),
    "NaN below a long key": (b'{"' + b"k" * 41 + b'": NaN}', f"{'k' * 40}… is NaN, which is not JSON"),
    "a key twice": (row("no", b'"succeeded"'), f"{LAST} has the key no twice"),
    "a key twice, spelled in two ways": (
        rb'{"result": {}, "r\u0065sult": {}}',
        "it has the key result twice",
    ),
    "a key of control characters twice": (
        rb'{"a": [{"\u001b[2J": 1, "\u001b[2J": 1}]}',
        r"a[0] has the key \x1b[2J twice",
    ),
    "half a pair": (
        row("name", rb'"a\ud83d"'),
        "result.modelCompTaskList[3].name holds a lone surrogate (U+D83D), which cannot be stored",
    ),
    "half a pair in a key": (
        row("a\\udc00", b"1"),
        rf"{LAST}.a\udc00 holds a lone surrogate (U+DC00), which cannot be stored",
    ),
    "NUL": (
        row("name", rb'"a\u0000"'),
        "result.modelCompTaskList[3].name holds a NUL character (U+0000), which cannot be stored",
    ),
    "NUL in a key": (
        row("a\\u0000", b"1"),
        r"result.modelCompTaskList[3].a\x00 holds a NUL character (U+0000), which cannot be stored",
    ),
    "a bell in an id": (
        row("id", rb'"amva\u0007"'),
        "result.modelCompTaskList[3].id holds a control character (U+0007)",
    ),
    "a line end in an id": (
        row("sourceModelId", rb'"amv-1\n"'),
        "result.modelCompTaskList[3].sourceModelId holds a control character (U+000A)",
    ),
    "DEL in an id, as it is": (
        row("modelId", b'"amv-1\x7f"'),
        "result.modelCompTaskList[3].modelId holds a control character (U+007F)",
    ),
    "C1 in an id, as it is": (
        row("modelId", '"amv-1\x9b"'.encode()),
        "result.modelCompTaskList[3].modelId holds a control character (U+009B)",
    ),
    "a control character, as it is": (
        row("name", b'"a\n"'),
        "it is not JSON (Invalid control character at at character 73)",
    ),
    "nested": (nested(MAX_NESTING + 1), f"a{'[0]' * (MAX_NESTING - 1)} is nested more than 50 deep"),
    "many objects": (
        b'{"a":[' + b"{}," * MAX_CONTAINERS * 3 + b"0]}",
        "it holds more than 10000 objects and lists",
    ),
    "many lists": (
        b'{"a":[' + b"[],[]," * MAX_CONTAINERS * 2 + b"0]}",
        "it holds more than 10000 objects and lists",
    ),
    "many values": (b'{"a":[' + b"12," * (MAX_VALUES + 1) + b"0]}", "it holds more than 30000 values"),
    "many strings": (
        b'{"a":[' + b'"",' * MAX_VALUES * 3 + b'""]}',
        "it holds more than 120000 quotation marks",
    ),
}


@pytest.mark.parametrize("body", [nested(9000), b"[" * 9000], ids=["with an end", "without end"])
def test_nested_deeper_than_some_pythons_parse(body: bytes) -> None:
    # Python 3.13 parses it, and finds that it does not end.
    with pytest.raises(UnreadableError, match=r"is nested more than 50 deep|is not JSON"):
        read_object(body)


@pytest.mark.parametrize(("body", "told"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_carried_is_refused_by_name(body: bytes, told: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        read_object(body)

    assert str(refused.value) == told


@pytest.mark.parametrize(
    "body",
    [
        nested(MAX_NESTING),
        b'{"a": "' + b"[{," * 50_000 + b'"}',
        b'{"a": "' + rb"\"[{," * 25_000 + b'", "b": 1}',
        b'{"name": "\x7f", "description": "\\n\\u001b", "identity": "\\t"}',
        row("Id", rb'"\u5343\ud83d\ude00"'),
    ],
    ids=["as deep as allowed", "signs in a string", "escaped signs", "controls in a text", "pairs in an id"],
)
def test_what_only_looks_like_it_is_read(body: bytes) -> None:
    assert read_object(body) == json.loads(body)


def fill(piece: bytes, most: int) -> bytes:
    """As many as are allowed, and as fit in."""
    count = min(most, (MAX_ANSWER_BYTES - 20) // len(piece))
    return b'{"a":[' + piece * (count - 2) + b"0]}"


def keyed(pair: str) -> bytes:
    return b"{" + ",".join(pair % number for number in range(MAX_VALUES)).encode() + b"}"


def test_a_key_may_hold_a_control_character_that_can_be_stored() -> None:
    assert read_object(b'{"a\\tbId": {"\\u0007": "\\u0007"}}') == {"a\tbId": {"\x07": "\x07"}}


MOST = {
    "objects and lists": lambda extra: b"[]," * (MAX_CONTAINERS - 3 + extra) + b"[]",
    "values": lambda extra: b"0," * (MAX_VALUES - 1 + extra) + b"0",
    "quotation marks": lambda extra: b'"' + rb"\"" * (MAX_QUOTES - 8 + extra) + b'"',
}


@pytest.mark.parametrize(("what", "fill_with"), MOST.items(), ids=MOST)
def test_the_most_that_is_read(what: str, fill_with: Callable[[int], bytes]) -> None:
    filler = b"[{,x" * 16 * 1024  # a string is not counted, but makes the answer long enough to be checked
    most, too_much = (b'{"b":"' + filler + b'","a":[' + fill_with(extra) + b"]}" for extra in (0, 1))
    read_object(most)

    with pytest.raises(UnreadableError, match=f"holds more than [0-9]+ {what}$"):
        read_object(too_much)


SLOW = {
    "integers": fill(b"1234567890123456789,", MAX_VALUES),
    "fractions": fill(b"0.12345678901234567,", MAX_VALUES),
    "large fractions": fill(b"12345678901234567e280,", MAX_VALUES),
    "strings": fill(rb'"\n",', MAX_VALUES),
    "keys": keyed('"%x":0'),
    "keys with escapes": keyed(r'"%x\n":"\u2028"'),
    "lists": fill(b"[],", MAX_CONTAINERS),
    "objects": fill(b'{"":{}},', MAX_CONTAINERS // 2),
    "escapes": b'{"a":"' + rb"\n" * (MAX_ANSWER_BYTES // 2 - 20) + b'"}',
    "signs in strings": b'{"a":["' + rb"[,\\" * (MAX_ANSWER_BYTES // 4 - 20) + b'"]}',
    "signs in many strings": fill(b'",,,,,,,,,[",', MAX_VALUES),
    "unfinished": b'{"a":"' + rb"\\[," * (MAX_ANSWER_BYTES // 4 - 20),
    "too many": fill(b"[],", MAX_ANSWER_BYTES),
    "quotation marks": rb"\"" * (MAX_ANSWER_BYTES // 2),
    "digits": b'{"a":' + b"1" * (MAX_ANSWER_BYTES - 20) + b"}",
}


def least(do: Callable[[], object]) -> float:
    """Tell how many seconds of processor time something takes, at least."""
    taken = []
    for _ in range(5):
        began = time.process_time()
        do()
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize("body", SLOW.values(), ids=SLOW)
def test_no_answer_takes_long(body: bytes) -> None:
    """On an event loop nothing else happens meanwhile: a tenth of a second, on a machine of its own."""

    def read() -> None:
        with suppress(UnreadableError):
            read_object(body)

    assert len(body) <= MAX_ANSWER_BYTES
    assert least(read) < 3 * least(lambda: sum(range(2_000_000)))


def call(reply: Response) -> Drive:
    exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), jitter=lambda: 0.0)
    return Drive(exchange.call("/v2/model", "DescribeModelCompTasks"), [reply] * 4)


def test_an_unreadable_answer_is_tried_again_and_named() -> None:
    drive = call(Response(200, {"content-type": "application/json"}, row("id", rb'"\u0007"')))

    assert len(drive.requests) == 4
    assert isinstance(drive.error, QianfanTransientError)
    assert str(drive.error) == (
        "DescribeModelCompTasks: HTTP 200 with an unreadable answer: result.modelCompTaskList[3].id holds a"
        " control character (U+0007) (application/json, 81 bytes): "
        r'{"result": {"modelCompTaskList": [{}, {}, {}, {"no": "amva-4", "id": "\u0007"}]}}.'
    )


@pytest.mark.parametrize("body", [body for body, _ in UNREADABLE.values()], ids=UNREADABLE)
@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (403, {"x-bce-error-code": "AccessDenied"}, "QianfanAuthError"),
        (429, {}, "QianfanRateLimitError"),
        (404, {}, "QianfanTransientError"),
        (503, {}, "QianfanTransientError"),
    ],
)
def test_an_unreadable_error_is_known_by_its_status(
    body: bytes, status: int, headers: dict[str, str], kind: str
) -> None:
    error = call(Response(status, headers, body)).error

    assert type(error).__name__ == kind
    assert isinstance(error, QianfanAPIError | QianfanTransientError)
    assert str(status) in str(error)


def test_an_answer_weighs_more_the_more_objects_and_lists_it_has() -> None:
    assert weight(b'{"a": [1, {}]}') == 14 + 3 * 64


def test_the_longest_integer_may_come() -> None:
    assert read_object(b'{"a": -9223372036854775808}') == {"a": -(2**63)}
