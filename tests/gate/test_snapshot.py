from __future__ import annotations

import json
import math
from collections import Counter
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, Reply, Request, RetryPolicy
from airflow_provider_qianfan.api.resource import SERVICE, Absence
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import Patch
from airflow_provider_qianfan.emulator.world import World
from airflow_provider_qianfan.gate.look import Found
from airflow_provider_qianfan.gate.resource import Resource
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.snapshot import MEASURED_FOR, Costs, Query, Snapshot, take_snapshot
from tests.api.steps import Drive, answer, error, page
from tests.emulator.client import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.gate.look import Target

DETAIL = "DescribeModelCompTask"


class Platform:
    """The emulated platform without HTTP: answers requests, and counts them by what they ask for."""

    def __init__(self) -> None:
        self.world = World({"behaviour": {"not_found": "no_such_key"}})
        self.costs = Costs()
        self.asked: Counter[str] = Counter()
        self.refuse: Callable[[str], Reply] = lambda _: None
        self.clock = 1_000_000.0
        self.page_size = 100

    def fill(self, sizes: dict[str, int]) -> None:
        for source, size in sizes.items():
            for number in range(size):
                self.world.tasks.add(TaskSpec(source, id=f"amva-{source}-{number}"))

    def take(self, *queries: Query) -> Snapshot:
        self.asked.clear()
        exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
        drive = Drive(take_snapshot(exchange, set(queries), self.costs, self.clock), self._reply)
        assert drive.error is None
        assert drive.slept == []
        snapshot: Snapshot = drive.result
        return snapshot

    def _reply(self, request: Request) -> Reply:
        body = json.loads(request.body)
        what = body["modelCompTaskId"] if request.url.endswith(DETAIL) else body.get("sourceModelId", "whole")
        self.asked[what] += 1
        if refused := self.refuse(what):
            return refused
        try:
            if request.url.endswith(DETAIL):
                return answer({"result": ask(self.world, "DescribeModelCompTask", modelCompTaskId=what)})
            return answer(
                {
                    "result": ask(
                        self.world,
                        "DescribeModelCompTasks",
                        marker=body.get("marker"),
                        maxKeys=min(body["maxKeys"], self.page_size),
                        sourceModelId=body.get("sourceModelId"),
                    )
                }
            )
        except ApiError as refusal:
            return error(refusal.http_status, refusal.code, refusal.message)


@pytest.fixture
def platform() -> Platform:
    return Platform()


def of(*sources: str) -> list[Query]:
    return [Query(source) for source in sources]


def given(task_id: str) -> Query:
    return Query(None, task_id)


def ids(answered: Any) -> list[str]:
    assert isinstance(answered, Found)
    return [task.id for task in answered.tasks]


def failing(*what: str, reply: Reply) -> Callable[[str], Reply]:
    return lambda asked: reply if asked in what else None


@pytest.mark.parametrize(
    ("target", "query"),
    [
        (Selector("amv-1"), Query("amv-1")),
        (Selector("amv-1", name="n"), Query("amv-1")),
        (Selector("amv-1", "amva-1"), Query(None, "amva-1")),
        (Selector(None, "amva-1"), Query(None, "amva-1")),
        (Resource(SERVICE, "svco-1", "amv-1"), Query(None, "svco-1", "service")),
    ],
)
def test_what_a_wait_needs(target: Target, query: Query) -> None:
    assert Query.of(target) == query


@pytest.mark.parametrize(
    ("sizes", "wanted", "calls"),
    [
        # sources, their tasks -> calls per interval, once the pages are counted
        ({"a": 1}, "a", {"a": 1}),
        ({"a": 1, "other": 5000}, "a", {"a": 1}),
        ({"a": 250, "other": 5000}, "a", {"a": 3}),
        ({"a": 1, "b": 1}, "ab", {"whole": 1}),
        ({"a": 1, "b": 1, "other": 150}, "ab", {"whole": 2}),
        ({"a": 1, "b": 1, "other": 250}, "ab", {"a": 1, "b": 1}),
        ({"a": 150, "b": 1, "other": 40}, "ab", {"whole": 2}),
        ({"a": 150, "b": 1, "other": 100}, "ab", {"a": 2, "b": 1}),
        ({"a": 150, "b": 1, "other": 200}, "ab", {"a": 2, "b": 1}),
        ({"a": 0, "b": 0}, "ab", {"whole": 1}),
    ],
)
def test_the_cheaper_plan(
    platform: Platform, sizes: dict[str, int], wanted: str, calls: dict[str, int]
) -> None:
    platform.fill(sizes)
    for _ in range(3):
        platform.take(*of(*wanted))

    snapshot = platform.take(*of(*wanted))

    assert platform.asked == calls
    for source in wanted:
        assert len(ids(snapshot.answer(Query(source)))) == sizes[source]


def test_finding_out_costs_no_more_than_asking_one_by_one(platform: Platform) -> None:
    platform.fill(dict.fromkeys("abcde", 1) | {"other": 5000})

    platform.take(*of(*"abcde"))
    assert platform.asked == dict.fromkeys("abcde", 1) | {"whole": 5}
    platform.take(*of(*"abcde"))
    assert platform.asked == dict.fromkeys("abcde", 1)


def test_a_list_that_has_become_short_is_noticed(platform: Platform) -> None:
    platform.fill({"a": 1, "b": 1, "other": 5000})
    platform.take(*of("a", "b"))
    for task_id in [task for task in platform.world.tasks if "other" in task]:
        del platform.world.tasks[task_id]

    platform.clock += MEASURED_FOR
    platform.take(*of("a", "b"))
    assert platform.asked == {"a": 1, "b": 1}
    platform.clock += 1
    platform.take(*of("a", "b"))
    assert platform.asked == {"whole": 1}


def test_a_list_that_has_become_long_is_noticed(platform: Platform) -> None:
    platform.fill({"a": 1, "b": 1})
    platform.take(*of("a", "b"))
    platform.fill({"other": 5000})

    platform.take(*of("a", "b"))
    assert platform.asked["whole"] == 51
    platform.take(*of("a", "b"))
    assert platform.asked == {"a": 1, "b": 1}


def test_what_nobody_asks_for_any_more_is_forgotten(platform: Platform) -> None:
    platform.fill({"a": 150, "b": 150, "other": 5000})
    platform.take(Query("a"), Query("b"), given("amva-a-7"), given("amva-b-7"))

    platform.clock += MEASURED_FOR + 1
    platform.take(Query("b"), given("amva-b-7"))

    assert platform.costs.of_source == {"b": 2}
    assert platform.costs.covered == {"amva-b-7"}


def test_a_platform_that_ignores_the_filter_is_not_asked_one_by_one_again(platform: Platform) -> None:
    platform.fill({"a": 1, "b": 2, "other": 150})
    platform.world.behaviour.ignore_source_filter = True

    first = platform.take(Query("a"))
    assert platform.asked == {"a": 2, "whole": 2}
    platform.take(Query("a"))
    assert platform.asked == {"whole": 2}
    second = platform.take(*of("a", "b"))

    assert platform.asked == {"whole": 2}
    assert ids(first.answer(Query("a"))) == ids(second.answer(Query("a"))) == ["amva-a-0"]
    assert ids(second.answer(Query("b"))) == ["amva-b-0", "amva-b-1"]


@pytest.mark.parametrize(
    ("reply", "pause"), [(error(400, "InappropriateJSON"), 0), (error(429, "Busy", retry_after="30"), 30)]
)
def test_a_list_that_came_unfiltered_counts_whatever_the_whole_list_says(
    platform: Platform, reply: Reply, pause: float
) -> None:
    platform.fill({"a": 1, "b": 1})
    platform.world.behaviour.ignore_source_filter = True
    platform.refuse = failing("whole", reply=reply)

    snapshot = platform.take(Query("a"))

    assert ids(snapshot.answer(Query("a"))) == ["amva-a-0"]
    assert snapshot.retry_after == pause


def test_pages_of_a_source_are_counted_in_the_whole_list(platform: Platform) -> None:
    platform.page_size = 50
    platform.fill({"a": 60, "b": 1})

    platform.take(*of("a", "b"))

    assert platform.asked == {"whole": 2}
    assert platform.costs.of_source == {"a": 2, "b": 1}


def test_the_list_names_the_source_model_of_a_given_task(platform: Platform) -> None:
    platform.world.tasks.add(TaskSpec("a", id="amva-1", in_detail=Patch(omit=("sourceModelId",))))

    found = platform.take(given("amva-1")).answer(given("amva-1"))

    assert platform.asked == {"amva-1": 1, "whole": 1}
    assert isinstance(found, Found)
    assert [task.source_model_id for task in found.tasks] == ["a"]


def test_a_given_task_costs_nothing_where_others_are_read(platform: Platform) -> None:
    platform.fill({"a": 150, "other": 5000})
    platform.take(Query("a"), given("amva-a-7"))

    snapshot = platform.take(Query("a"), given("amva-a-7"), given("amva-a-8"))

    assert platform.asked == {"a": 2}
    assert ids(snapshot.answer(given("amva-a-7"))) == ["amva-a-7"]


def test_a_given_task_costs_a_call_once_others_are_not_read(platform: Platform) -> None:
    platform.fill({"a": 5, "other": 300})
    tasks = [given(f"amva-a-{number}") for number in range(4)]
    platform.take(Query("a"), tasks[0])

    platform.take(*tasks)
    assert platform.asked == dict.fromkeys((task.given_id for task in tasks), 1)
    platform.take(*tasks)
    assert platform.asked == {"whole": 4}


def test_given_tasks_are_asked_for_by_themselves_unless_the_list_is_shorter(platform: Platform) -> None:
    platform.fill({"a": 5, "other": 200})

    platform.take(given("amva-a-1"), given("amva-a-2"))
    assert platform.asked == {"amva-a-1": 1, "amva-a-2": 1, "whole": 2}
    for _ in range(2):
        platform.take(given("amva-a-1"), given("amva-a-2"))
        assert platform.asked == {"amva-a-1": 1, "amva-a-2": 1}
        for _ in range(2):
            platform.take(*(given(f"amva-a-{number}") for number in range(4)))
            assert platform.asked == {"whole": 3}


def test_a_given_task_that_is_nowhere(platform: Platform) -> None:
    platform.fill({"a": 1, "b": 1})

    for _ in range(2):
        snapshot = platform.take(*of("a", "b"), given("amva-none"))

        assert platform.asked == {"whole": 1, "amva-none": 1}
        found = snapshot.answer(given("amva-none"))
        assert isinstance(found, Found)
        assert found.tasks == ()
        assert "NoSuchKey" in str(found.absence)


def test_a_platform_without_tasks(platform: Platform) -> None:
    of_source, by_id = Query(source_model_id="amv-1"), Query(given_id="amva-1")
    platform.take(of_source)
    platform.costs.whole_is_longer(math.inf)  # as after an answer that could not be read

    snapshot = platform.take(of_source, by_id)

    assert snapshot.answer(of_source) == Found()
    assert isinstance(snapshot.answer(by_id), Found)


def test_a_given_task_that_comes_late(platform: Platform) -> None:
    platform.fill({"other": 150})
    platform.take(given("amva-a-0"))
    assert platform.asked == {"amva-a-0": 1, "whole": 2}
    platform.fill({"a": 1})

    platform.take(given("amva-a-0"))
    assert platform.asked == {"amva-a-0": 1}


def test_a_list_that_was_read_for_a_given_task_is_counted_for_others(platform: Platform) -> None:
    platform.fill({"a": 150, "b": 1})
    platform.take(given("amva-none"))
    assert platform.asked == {"amva-none": 1, "whole": 2}

    platform.take(*of("a", "b"))
    assert platform.asked == {"whole": 2}


def test_a_given_task_is_not_missing_while_the_list_cannot_be_read(platform: Platform) -> None:
    platform.refuse = failing("whole", reply=error(400, "InappropriateJSON"))

    assert isinstance(platform.take(given("amva-none")).answer(given("amva-none")), QianfanAPIError)


def test_a_given_task_that_only_the_list_has(platform: Platform) -> None:
    platform.fill({"a": 1})
    platform.refuse = failing("amva-a-0", reply=error(404, "NoSuchKey"))

    assert ids(platform.take(given("amva-a-0")).answer(given("amva-a-0"))) == ["amva-a-0"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(400, "InappropriateJSON"), QianfanAPIError),
        (page(502), QianfanTransientError),
        (answer({"result": {"modelCompTaskList": []}}), QianfanProtocolError),
    ],
)
def test_what_goes_wrong_for_one_does_not_spoil_the_others(
    platform: Platform, reply: Reply, kind: type[Exception]
) -> None:
    platform.fill(dict.fromkeys("abcd", 1) | {"other": 5000})
    platform.take(*of(*"abcd"))
    platform.refuse = failing("b", reply=reply)

    snapshot = platform.take(*of(*"abcd"))

    assert platform.asked == dict.fromkeys("abcd", 1)
    assert isinstance(snapshot.answer(Query("b")), kind)
    assert [ids(snapshot.answer(Query(source))) for source in "acd"] == [
        [f"amva-{source}-0"] for source in "acd"
    ]
    assert (snapshot.retry_after, snapshot.throttled) == (0, False)


def test_failures_that_do_not_follow_each_other_end_nothing(platform: Platform) -> None:
    platform.fill(dict.fromkeys("abcde", 1) | {"other": 5000})
    platform.take(*of(*"abcde"))
    replies = cycle([page(502), None])
    platform.refuse = lambda _: next(replies)

    snapshot = platform.take(*of(*"abcde"))

    told = Counter(type(snapshot.answer(query)) for query in of(*"abcde"))
    assert told == {QianfanTransientError: 3, Found: 2}


@pytest.mark.parametrize(
    ("reply", "kind", "calls", "pause"),
    [
        (error(403, "AccessDenied"), QianfanAuthError, 1, 0),
        (error(429, "Busy", retry_after="30"), QianfanRateLimitError, 1, 30),
        (error(503, "ServiceUnavailable", retry_after="30"), QianfanTransientError, 1, 30),
        (page(502), QianfanTransientError, 2, 0),
    ],
)
def test_what_concerns_all_ends_it_for_all(
    platform: Platform, reply: Reply, kind: type[Exception], calls: int, pause: float
) -> None:
    platform.fill(dict.fromkeys("abcd", 1) | {"other": 5000})
    platform.take(*of(*"abcd"))
    platform.refuse = lambda _: reply

    snapshot = platform.take(*of(*"abcd"))

    assert platform.asked.total() == calls
    assert [type(snapshot.answer(query)) for query in of(*"abcd")] == [kind] * 4
    assert snapshot.retry_after == pause
    assert snapshot.throttled == (kind is QianfanRateLimitError)


def test_a_whole_list_that_cannot_be_read_is_not_needed(platform: Platform) -> None:
    """A row of somebody else, which is not as documented, must not keep our gate shut."""
    platform.fill(dict.fromkeys("ab", 1))
    platform.world.tasks.add(TaskSpec("other", omit=("id",)))

    for calls in ({"whole": 1, "a": 1, "b": 1}, {"a": 1, "b": 1}):
        snapshot = platform.take(*of("a", "b"))

        assert platform.asked == calls
        assert ids(snapshot.answer(Query("a"))) == ["amva-a-0"]


def test_a_failing_platform_fails_the_whole_list_for_all(platform: Platform) -> None:
    platform.fill(dict.fromkeys("ab", 1))
    platform.take(*of("a", "b"))
    platform.refuse = lambda _: page(502)

    snapshot = platform.take(*of("a", "b"))

    assert platform.asked == {"whole": 1}
    assert isinstance(snapshot.answer(Query("a")), QianfanTransientError)
    platform.refuse = lambda _: None
    platform.take(*of("a", "b"))
    assert platform.asked == {"whole": 1}


def test_what_was_not_read_is_not_answered(platform: Platform) -> None:
    platform.fill({"a": 1, "b": 1})

    assert platform.take(Query("a")).answer(Query("b")) is None
    assert ids(platform.take(*of("a", "b")).answer(Query("never seen"))) == []


def test_equal_readings_are_equal_in_whatever_order(platform: Platform) -> None:
    platform.fill({"a": 5})
    first = platform.take(Query("a"))
    platform.world.behaviour.order = "shuffled"

    assert platform.take(Query("a")).answer(Query("a")) == first.answer(Query("a"))


@pytest.mark.parametrize("sources", [1, 3, 10, 100])
@pytest.mark.parametrize("pages", [1, 3, 4, 10, 100])
def test_the_formula(sources: int, pages: int) -> None:
    """For all that is known: as many calls as the cheaper of both."""
    queries = [Query(f"amv-{number}") for number in range(sources)]
    costs = Costs(of_source={f"amv-{number}": 1 + number % 2 for number in range(sources)}, whole=pages)
    costs.counted_at = 0

    one_by_one = sum(1 + number % 2 for number in range(sources))
    assert costs.worthwhile(queries, 1) == (math.inf if pages <= one_by_one else 0)


MODELS = [Query(None, f"amv-{number}", "model") for number in range(3)]
SERVICES = [Query(None, f"svco-{number}", "service") for number in range(3)]


class Resources:
    """Model versions and services, described one by one or, services, in a list."""

    def __init__(self, services: int = 3, *, row: dict[str, Any] | None = None) -> None:
        self.costs = Costs()
        self.services = services
        self.row = (
            {"runStatus": "Serving", "updateStatus": "None", "modelId": "amv-1"} if row is None else row
        )
        self.asked: Counter[str] = Counter()
        self.refuse: Callable[[str], Reply] = lambda _: None

    def take(self, *queries: Query) -> Snapshot:
        self.asked.clear()
        exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
        drive = Drive(take_snapshot(exchange, set(queries), self.costs, 0.0), self._reply)
        assert drive.error is None
        snapshot: Snapshot = drive.result
        return snapshot

    def _reply(self, request: Request) -> Reply:
        body, action = json.loads(request.body), request.url.rpartition("=")[2]
        what = body.get("serviceId") or body.get("modelId") or action
        self.asked[what] += 1
        if refused := self.refuse(what):
            return refused
        if action != "DescribeServices":
            return answer({"result": {**body, "status": "Ready", "runStatus": "New"}})
        start = int(body.get("marker") or 0)
        end = min(self.services, start + 100)
        rows = [{"serviceId": f"svco-{number}", **self.row} for number in range(start, end)]
        info = {"isTruncated": end < self.services, "nextMarker": str(end) if end < self.services else None}
        return answer({"result": {"serviceList": rows, "pageInfo": info}})


def statuses(snapshot: Snapshot, queries: list[Query]) -> list[Any]:
    found = [snapshot.answer(query) for query in queries]
    assert all(isinstance(each, Found) and each.row is not None for each in found)
    return [each.row.json.get("runStatus") for each in found]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("there", "wanted", "calls"),
    [
        (3, 1, {"svco-0": 1}),
        (3, 2, {"DescribeServices": 1}),
        (3, 3, {"DescribeServices": 1}),
        (150, 2, {"DescribeServices": 2}),
        (250, 2, {"svco-0": 1, "svco-1": 1}),
        (250, 3, {"DescribeServices": 3}),
    ],
)
def test_services_are_listed_where_that_is_cheaper(there: int, wanted: int, calls: dict[str, int]) -> None:
    platform = Resources(there)
    platform.take(*SERVICES[:wanted])

    snapshot = platform.take(*SERVICES[:wanted])

    # A list as long as there are services to ask for is as cheap as these.
    assert platform.asked.total() == sum(calls.values())
    assert statuses(snapshot, SERVICES[:wanted]) == [
        "Serving" if "DescribeServices" in platform.asked else "New"
    ] * (wanted)


@pytest.mark.parametrize(("wanted", "calls"), [(1, {"svco-0": 1}), (2, {"DescribeServices": 2})])
def test_finding_out_how_long_a_list_is_costs_no_more_than_asking_one_by_one(
    wanted: int, calls: dict[str, int]
) -> None:
    platform = Resources(250)

    platform.take(*SERVICES[:wanted])

    assert platform.asked == calls


def test_a_list_of_services_that_is_too_long_is_left_alone() -> None:
    platform = Resources(450)
    platform.take(*SERVICES[:2])

    platform.take(*SERVICES)
    assert platform.asked == {"svco-0": 1, "svco-1": 1, "svco-2": 1}


def test_a_row_does_not_count_if_the_list_is_read_again_without_it() -> None:
    platform = Resources(150)

    def lose_all(what: str) -> Reply:
        if what == "DescribeServices" and platform.asked[what] == 2:
            platform.services = 0
            return error(400, "InvalidMarker")
        return None

    platform.refuse = lose_all

    assert statuses(platform.take(*SERVICES), SERVICES) == ["New"] * 3
    assert platform.asked == {"DescribeServices": 3, "svco-0": 1, "svco-1": 1, "svco-2": 1}


def test_models_are_asked_for_one_by_one() -> None:
    platform = Resources()

    platform.take(*MODELS)

    assert platform.asked == {"amv-0": 1, "amv-1": 1, "amv-2": 1}


@pytest.mark.parametrize("missing", ["runStatus", "updateStatus", "modelId"])
def test_a_row_that_does_not_tell_enough_is_asked_for(missing: str) -> None:
    platform = Resources(row={key: "x" for key in ("runStatus", "updateStatus", "modelId") if key != missing})

    assert statuses(platform.take(*SERVICES), SERVICES) == ["New"] * 3
    assert platform.asked == {"DescribeServices": 1, "svco-0": 1, "svco-1": 1, "svco-2": 1}


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(error(400, "InappropriateJSON"), id="not as documented"),
        pytest.param(error(403, "AccessDenied"), id="a key that may describe, but not list"),
    ],
)
def test_a_list_of_services_that_cannot_be_read_is_not_needed(refusal: Reply) -> None:
    platform = Resources()
    platform.refuse = failing("DescribeServices", reply=refusal)

    assert statuses(platform.take(*SERVICES), SERVICES) == ["New"] * 3
    platform.take(*SERVICES)
    assert "DescribeServices" not in platform.asked


def test_a_list_of_services_that_was_lost_is_read_again() -> None:
    platform = Resources()
    platform.refuse = failing("DescribeServices", reply=page(502))
    assert isinstance(platform.take(*SERVICES).answer(SERVICES[0]), QianfanTransientError)
    platform.refuse = lambda _: None

    platform.take(*SERVICES)
    assert platform.asked == {"DescribeServices": 1}


def test_a_key_that_is_refused_altogether() -> None:
    platform = Resources()
    platform.refuse = lambda _: error(403, "AccessDenied")

    taken = platform.take(*SERVICES)

    assert all(isinstance(taken.answer(query), QianfanAuthError) for query in SERVICES)
    assert platform.asked.total() == 2


def test_a_service_that_is_not_there() -> None:
    platform = Resources()
    platform.refuse = failing("svco-0", reply=error(404, "NoSuchKey"))

    found = platform.take(SERVICES[0]).answer(SERVICES[0])

    assert isinstance(found, Found)
    assert found.row is None
    assert "NoSuchKey" in str(found.absence)


def test_a_task_is_no_answer_to_who_waits_for_a_model(platform: Platform) -> None:
    platform.fill({"a": 1})

    assert platform.take(Query("a")).answer(Query(None, "amva-a-0", "model")) is None


def test_a_failing_service_does_not_spoil_the_others() -> None:
    platform = Resources()
    contradiction = answer({"result": {"modelId": "amv-9"}})
    platform.refuse = failing("amv-1", reply=contradiction)

    snapshot = platform.take(*MODELS)

    assert isinstance(snapshot.answer(MODELS[1]), QianfanProtocolError)
    assert isinstance(snapshot.answer(MODELS[2]), Found)


@pytest.mark.parametrize(
    "odd", [Query("amv-\ud800"), given("amva-\ud800"), Query(None, "svco-\ud800", "service")]
)
def test_an_id_that_cannot_be_sent_does_not_spoil_the_others(platform: Platform, odd: Query) -> None:
    platform.fill({"amv-1": 1})

    snapshot = platform.take(odd, *of("amv-1"))

    assert ids(snapshot.answer(Query("amv-1"))) == ["amva-amv-1-0"]
    told = snapshot.answer(odd)
    assert "lone surrogate" in str(told) or told == Found(())  # the whole list has told it


WHOLE = Query()


def test_all_waits_are_answered_from_what_a_watcher_needs() -> None:
    platform = Platform()
    platform.fill({"a": 150, "b": 1})

    snapshot = platform.take(WHOLE, Query("a"), Query("b"), Query(None, "amva-a-7"), Query(None, "amva-b-0"))

    assert platform.asked == {"whole": 2}
    found = snapshot.answer(WHOLE)
    assert isinstance(found, Found)
    assert len(found.tasks) == 151
    assert snapshot.answer(Query("b")) == Found(found.tasks[-1:])


def test_a_page_that_only_a_watcher_needs_does_not_disturb_the_waits() -> None:
    platform = Platform()
    platform.fill({"a": 150, "b": 1})
    pages = iter([None, error(500, "InternalError")])
    platform.refuse = lambda asked: next(pages, None) if asked == "whole" else None

    snapshot = platform.take(WHOLE, Query("b"))

    assert isinstance(snapshot.answer(WHOLE), QianfanTransientError)
    assert isinstance(snapshot.answer(Query("b")), Found)


@pytest.mark.parametrize("refusal", [error(403, "AccessDenied"), error(429, "x", {"Retry-After": "7"})])
def test_what_concerns_all_still_ends_the_snapshot(refusal: Reply) -> None:
    platform = Platform()
    platform.fill({"a": 1})
    platform.refuse = lambda _: refusal

    snapshot = platform.take(WHOLE, Query("a"))

    assert isinstance(snapshot.answer(Query("a")), QianfanAPIError)
    assert sum(platform.asked.values()) == 1


def test_details_come_last_and_their_failures_concern_nobody_else() -> None:
    platform = Platform()
    platform.fill({"a": 1})
    details = [Query(None, f"amva-gone-{number}", detail=True) for number in range(3)]
    platform.refuse = lambda asked: error(500, "InternalError") if asked.startswith("amva-gone") else None

    snapshot = platform.take(*details, Query("a"), Query(None, "amva-a-0"))

    assert isinstance(snapshot.answer(Query("a")), Found)
    assert isinstance(snapshot.answer(Query(None, "amva-a-0")), Found)
    assert all(isinstance(snapshot.answer(each), QianfanTransientError) for each in details)


def test_a_row_that_cannot_be_read_hides_the_others_from_no_watcher() -> None:
    platform = Platform()
    platform.fill({"a": 1})
    rows = [{"id": "amva-2", "sourceModelId": "b"}, {"name": "no id"}, {"id": "amva-1", "sourceModelId": "b"}]
    odd = answer({"result": {"modelCompTaskList": rows, "pageInfo": {"isTruncated": False}}})
    platform.refuse = failing("whole", reply=odd)

    snapshot = platform.take(WHOLE, Query("a"))

    found = snapshot.answer(WHOLE)
    assert ids(found) == ["amva-1", "amva-2"]
    assert isinstance(found, Found)
    assert found.left_out is True
    assert ids(snapshot.answer(Query("a"))) == ["amva-a-0"]  # asked for by itself


def test_a_detail_is_asked_for_by_itself() -> None:
    platform = Platform()
    platform.fill({"a": 1})
    platform.refuse = failing("amva-gone", reply=answer({"result": None}))
    there, gone = (Query(None, task_id, detail=True) for task_id in ("amva-a-0", "amva-gone"))

    snapshot = platform.take(there, gone, WHOLE)

    assert platform.asked == {"whole": 1, "amva-a-0": 1, "amva-gone": 1}
    assert ids(snapshot.answer(there)) == ["amva-a-0"]
    assert snapshot.answer(gone) == Found(absence=Absence())


def test_what_was_not_read_has_no_answer() -> None:
    assert Snapshot().answer(WHOLE) is None
    assert Snapshot().answer(Query("a")) is None
    assert Snapshot().answer(Query(None, "amva-1")) is None


def test_a_watcher_alone_gets_the_whole_list() -> None:
    platform = Platform()
    platform.fill({"a": 150, "b": 1})

    assert len(ids(platform.take(WHOLE).answer(WHOLE))) == 151
    assert platform.asked == {"whole": 2}


def test_refusals_of_many_do_not_count_as_a_platform_that_is_lost() -> None:
    platform = Platform()
    platform.fill({"z": 1})
    odd = [f"a-{number}" for number in range(9)]
    platform.refuse = failing(*odd, "whole", reply=error(400, "InappropriateJSON"))

    snapshot = platform.take(*of(*odd, "z"))

    assert {type(snapshot.answer(query)) for query in of(*odd)} == {QianfanAPIError}
    assert ids(snapshot.answer(Query("z"))) == ["amva-z-0"]
    assert [platform.asked[source] for source in odd] == [1] * len(odd)
