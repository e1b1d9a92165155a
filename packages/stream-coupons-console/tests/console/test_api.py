"""The HTTP API on a live system: decisions on demand, idempotence, errors, protection, conformance to its document."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener, urlopen

import pytest
from msgspec.structs import replace

from benchmarks.console import reading_console, settings_of_shop
from benchmarks.live_shop import CAMPAIGNS, COUPONS
from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.core.messages.inputs import BrowseEvent, ErasureRequest
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons_lab.demo.system import LocalSystem
from tests.docs.pages import block

from .conftest import RunBroker

pytestmark = pytest.mark.kafka
SOON_S = 30.0


class Api:
    """A console and its system.

    Parameters
    ----------
    address, token : str
        Of the console.
    """

    def __init__(self, address: str, token: str, system: LocalSystem, folder: Path) -> None:
        self.address, self.token, self.system, self.folder = address, token, system, folder

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Return status, JSON and headers of the answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        known = {"Authorization": f"Bearer {self.token}", **{name.replace("_", "-"): v for name, v in headers.items()}}
        request = Request(self.address + path, data, {name: v for name, v in known.items() if v}, method=method)
        try:
            with urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read()), dict(answer.headers)
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read()), dict(error.headers)

    def decide(self, within_ms: int = 10_000, **event: Any) -> tuple[int, Any, dict[str, str]]:
        """Send an event."""
        known = {"kind": "browse", "occurred_at": time.time(), "item": {"item_id": "i", "category": "tea"}}
        return self.call("POST", f"/v1/decide?within_ms={within_ms}", known | event)

    def issues_of(self, user_id: str) -> list[dict[str, Any]]:
        """Return the issues of a shopper in their topic."""
        key = user_id.encode()
        with Reader(self.system.connection, [topics.ISSUES.name], from_beginning=True, key=key) as reader:
            return [json.loads(record.value) for record in reader.read_to_end() if record.key == key]


@pytest.fixture(scope="module")
def api(run_broker: RunBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One worker that gives a coupon to whoever browses tea, and a console with a token."""
    folder = tmp_path_factory.mktemp("api")
    token = secret.make_bytes(folder / "console.token").hex()
    settings = settings_of_shop()
    policy = replace(settings.policy, cooldown_s=600.0, holdout_ratio=0.0, control_ratio=0.0, min_value_minor=-1e6)
    with run_broker() as broker:
        system = LocalSystem(broker, replace(settings, policy=policy), folder, workers=1)
        system.prepare(COUPONS, [replace(one, holdout_ratio=0.0) for one in CAMPAIGNS])
        with system:
            system.wait_ready()
            with console(folder) as (address, _):
                found = Api(address, token, system, folder)
                until(lambda: found.decide(event_id="first", user_id="first"), 200)  # a producer is connected
                yield found


def console(folder: Path) -> Any:
    return reading_console(folder / "worker-1.toml", "--token-file", str(folder / "console.token"))


def test_an_event_is_answered_with_the_issue_as_it_was_sent(api: Api) -> None:
    status, found, _ = api.decide(event_id="a1", user_id="ann")
    assert (status, found["result"], found["because"]) == (200, "given", "a coupon was given")
    [issue] = api.issues_of("ann")
    assert found["issue"] == issue
    assert (found["event_id"], found["user_id"], found["decision_id"]) == ("a1", "ann", issue["issue_id"])


def test_the_second_event_of_a_shopper_is_answered_with_the_reason(api: Api) -> None:
    api.decide(event_id="b1", user_id="bob")
    status, found, _ = api.decide(event_id="b2", user_id="bob")
    assert (status, found["issue"], found["result"]) == (200, None, "cooldown")
    assert found["because"] == "this shopper was considered within policy.cooldown_s"
    assert api.call("GET", f"/v1/decisions/{found['decision_id']}")[:2] == (200, found)


def test_an_event_that_is_no_trigger_is_answered(api: Api) -> None:
    status, found, _ = api.decide(event_id="o1", user_id="olga", kind="order", order_id="1", item=None)
    assert (status, found["result"]) == (200, "no_trigger")


def test_the_same_event_is_answered_alike_and_gives_nothing_twice_also_after_a_restart(api: Api) -> None:
    event = {"event_id": "c1", "user_id": "cleo", "occurred_at": time.time()}
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda _: api.decide(**event)[:2], range(4))]
    assert found == [(200, found[0][1])] * 4
    with console(api.folder) as (address, _):
        assert Api(address, api.token, api.system, api.folder).decide(**event)[:2] == found[0]
    assert len(api.issues_of("cleo")) == 1


def test_an_event_that_the_shop_sent_itself_is_answered_with_its_issue(api: Api) -> None:
    event = BrowseEvent(event_id="d1", user_id="dora", occurred_at=time.time())
    with api.system.publisher() as publisher:
        publisher.send(topics.BROWSE, event)
    api.system.wait_idle(SOON_S)
    status, found, _ = api.decide(event_id="d1", user_id="dora", occurred_at=event.occurred_at)
    assert (status, found["issue"]) == (200, api.issues_of("dora")[0])


def test_a_result_that_takes_longer_is_at_the_place_that_the_answer_names(api: Api) -> None:
    status, pending, headers = api.decide(within_ms=0, event_id="e1", user_id="eve")
    assert (status, pending["event_id"], pending["user_id"]) == (202, "e1", "eve")
    found = until(lambda: api.call("GET", headers["location"]), 200)
    assert found["decision_id"] == pending["decision_id"]
    assert found["issue"] == api.issues_of("eve")[0]


def until(ask: Any, wanted: int) -> Any:
    """Return the JSON of the first answer with a status."""
    deadline = time.monotonic() + SOON_S
    while (found := ask())[0] != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found[1]


BAD: dict[str, tuple[Any, int, str, str]] = {
    "no JSON": (b"{", 400, "not_json", "truncated"),
    "an array": (b"[]", 422, "invalid", "object"),
    "an unknown kind": ({"kind": "look"}, 422, "invalid", "kind"),
    "a missing field": ({"kind": "cart", "event_id": "x", "user_id": "u", "occurred_at": 1.0}, 422, "invalid", "item"),
    "a wrong version": (
        {"kind": "browse", "event_id": "x", "user_id": "u", "occurred_at": 1.0, "schema_version": 2},
        422,
        "unknown_version",
        "schema_version 2",
    ),
    "a clock ahead": (
        {"kind": "browse", "event_id": "x", "user_id": "u", "occurred_at": 4e9},
        422,
        "from_the_future",
        "after its arrival",
    ),
    "too long": ({"kind": "browse", "filler": "x" * 2_000_000}, 413, "too_large", "1048576"),
}


@pytest.mark.parametrize(("body", "status", "code", "words"), BAD.values(), ids=BAD)
def test_a_bad_event_is_refused_with_the_reason_of_a_dead_letter(
    api: Api, body: Any, status: int, code: str, words: str
) -> None:
    found, problem, headers = api.call("POST", "/v1/decide", body)
    assert (found, problem["status"], problem["code"]) == (status, status, code)
    assert words in problem["detail"]
    assert headers["content-type"] == "application/problem+json"


REFUSED: dict[str, tuple[dict[str, str], int]] = {
    "without a token": ({"Authorization": ""}, 401),
    "with a wrong token": ({"Authorization": "Bearer 00"}, 401),
    "with another scheme": ({"Authorization": "Basic 00"}, 401),
    "for a foreign host": ({"Host": "shop.example"}, 421),
    "from a foreign origin": ({"Origin": "https://shop.example"}, 403),
    "from a foreign site": ({"Sec-Fetch-Site": "cross-site"}, 403),
}


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/campaigns/spring/pause"])
@pytest.mark.parametrize(("headers", "status"), REFUSED.values(), ids=REFUSED)
def test_a_change_is_refused(api: Api, path: str, headers: dict[str, str], status: int) -> None:
    event = {"kind": "browse", "event_id": "r", "user_id": "rita", "occurred_at": time.time()}
    found, problem, _ = api.call("POST", path, event, **headers)
    assert (found, problem["status"]) == (status, status)
    assert api.call("GET", "/v1/campaigns/spring")[1]["state"]["state"] == "running"
    assert api.call("GET", "/v1/shoppers/rita/coupons")[1]["coupons"] == []


def test_a_change_with_a_session_but_without_its_proof_is_refused(api: Api) -> None:
    signing_in = Request(f"{api.address}/sign-in", f"token={api.token}".encode())
    opener = build_opener(NoRedirect)
    with pytest.raises(HTTPError) as redirect, opener.open(signing_in):
        pass
    cookie = redirect.value.headers["set-cookie"].split(";")[0]
    status, problem, _ = api.call("POST", "/v1/campaigns/spring/pause", {}, Authorization="", Cookie=cookie)
    assert (status, problem["code"]) == (403, "forbidden")


class NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def test_coupons_of_a_shopper_are_in_the_index_and_in_the_topic(api: Api) -> None:
    _, found, _ = api.decide(event_id="f1", user_id="fay")
    recent, older = (api.call("GET", f"/v1/shoppers/fay/coupons{query}")[1] for query in ("", "?older=true"))
    assert recent == older == {
        "user_id": "fay", "coupons": [{"issue": found["issue"], "is_open": True, "feedback": {}}]
    }  # fmt: skip


def test_a_shopper_who_asked_to_be_forgotten_is_gone(api: Api) -> None:
    _, found, _ = api.decide(event_id="g1", user_id="gus")
    request = ErasureRequest(event_id="x", user_id="gus", occurred_at=time.time())
    with api.system.publisher() as publisher:
        publisher.send(topics.ERASURES, request)
    until(lambda: api.call("GET", f"/v1/decisions/{found['decision_id']}"), 404)
    for query in ("", "?older=true"):
        assert api.call("GET", f"/v1/shoppers/gus/coupons{query}")[1]["coupons"] == []
    assert api.call("GET", f"/v1/explain/{found['decision_id']}")[0] == 404
    api.system.wait_idle(SOON_S)  # the worker reads erasures and events apart
    assert len(api.issues_of("gus")) == 1  # retention deletes it, not the console
    assert api.decide(event_id="g0", user_id="gus", occurred_at=request.occurred_at - 1)[1]["result"] == "erasure"


def test_an_issue_is_explained_as_by_the_command_within_a_tenth_of_a_second(api: Api) -> None:
    _, found, _ = api.decide(event_id="h1", user_id="hal")
    seconds, explained = [], None
    for _ in range(20):
        began = time.perf_counter()
        explained = api.call("GET", f"/v1/explain/{found['decision_id']}")[1]
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1
    command = (sys.executable, "-m", "stream_coupons", "explain", found["decision_id"], "--json", "--config")
    said = subprocess.run([*command, str(api.folder / "worker-1.toml")], capture_output=True, check=True)
    assert explained == json.loads(said.stdout)


def test_a_campaign_is_paused_and_resumed_with_a_reason(api: Api) -> None:
    status, found, _ = api.call("POST", "/v1/campaigns/clearance/pause", {"reason": "stock-taking"})
    assert (status, found) == (200, {"campaign_id": "clearance", "state": "paused"})
    seen = api.call("GET", "/v1/campaigns/clearance")[1]
    assert seen["state"]["state"] == "paused"
    assert (seen["changes"][0]["verb"], seen["changes"][0]["reason"]) == ("pause", "stock-taking")
    assert "resume" in seen["verbs"]
    assert api.call("POST", "/v1/campaigns/clearance/stage", {})[0] == 409
    assert api.call("POST", "/v1/campaigns/clearance/resume")[1]["state"] == "running"
    assert [one["campaign"]["campaign_id"] for one in api.call("GET", "/v1/campaigns")[1]] == ["clearance", "spring"]


def test_results_are_those_of_the_command(api: Api) -> None:
    api.decide(event_id="j1", user_id="jan")
    until(lambda: (len(api.call("GET", "/v1/results?campaign=spring")[1]), None), 1)
    api.system.wait_idle(SOON_S)
    command = (sys.executable, "-m", "stream_coupons", "results", "--by", "campaign", "--json", "--config")

    def compared() -> tuple[bool, Any]:
        said = subprocess.run([*command, str(api.folder / "worker-1.toml")], capture_output=True, check=True)
        return api.call("GET", "/v1/results?by=campaign")[1] == json.loads(said.stdout), None

    until(compared, True)


def test_a_campaign_that_has_given_nothing_has_no_results(api: Api) -> None:
    assert api.call("GET", "/v1/results?campaign=clearance")[:2] == (200, [])
    assert api.call("GET", "/v1/results?campaign=clearanse")[0] == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/results?by=week", 400),
        ("/v1/results?since=soon", 400),
        ("/v1/results?by=day&by=coupon", 400),
        ("/v1/results?colour=red", 400),
        ("/v1/campaigns/none", 404),
        ("/v1/explain/none", 404),
        ("/v1/decisions/none", 404),
        (f"/v1/shoppers/{'u' * 201}/coupons", 404),
        ("/v1/nothing", 404),
    ],
)
def test_a_bad_question_is_refused(api: Api, path: str, status: int) -> None:
    found, problem, headers = api.call("GET", path)
    assert (found, problem["status"], headers["content-type"]) == (status, status, "application/problem+json")
    assert len(problem["detail"]) > 5


@pytest.mark.parametrize("name", ["api-decide", "api-ask", "api-change"])
def test_the_examples_of_the_page_are_answered(api: Api, name: str) -> None:
    text = block(name).replace("127.0.0.1:9470", api.address)
    asked = subprocess.run(["bash", "-c", text.replace("--silent", "--silent --fail-with-body")],
                           cwd=api.folder, capture_output=True, text=True, check=True)  # fmt: skip
    rest, answers = asked.stdout, 0
    while rest:
        _, end = json.JSONDecoder().raw_decode(rest)
        rest, answers = rest[end:], answers + 1
    assert answers == text.count("curl ")


def test_an_event_that_kafka_does_not_take_is_to_be_sent_again(api: Api, run_broker: RunBroker) -> None:
    with run_broker() as broker:
        assert isinstance(broker, BrokerProcess)
        system = LocalSystem(broker, settings_of_shop(), api.folder / "gone", workers=1)
        system.prepare(COUPONS, CAMPAIGNS)
        with system:
            system.wait_ready()
            options = ("--token-file", str(api.folder / "console.token"))
            with reading_console(api.folder / "gone" / "worker-1.toml", *options) as (address, _):
                broker.kill()
                status, problem, headers = Api(address, api.token, system, api.folder).decide(event_id="k", user_id="u")
        broker.start()
    assert (status, problem["status"], headers["retry-after"]) == (503, 503, "1")
    assert "event_id" in problem["remedy"]
