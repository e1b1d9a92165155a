"""The HTTP API on a live system: decisions on demand, idempotence, errors, protection, conformance to its document."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from msgspec.structs import replace

from benchmarks.console import running_console, settings_of_shop
from benchmarks.live_shop import CAMPAIGNS, COUPONS
from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.core.messages.inputs import BrowseEvent, ErasureRequest
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons_lab.demo.system import LocalSystem

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
                yield Api(address, token, system, folder)


def console(folder: Path) -> Any:
    return running_console(folder / "worker-1.toml", "--token-file", str(folder / "console.token"))


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
