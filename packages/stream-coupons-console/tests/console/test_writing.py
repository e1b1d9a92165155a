"""Everything that the pages write, on a broker: seen first, then written as it was seen, by those who may."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.inputs import ErasureRequest
from stream_coupons.core.rules import ApprovalRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.ops.campaign_approval import make_key
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.published import published
from stream_coupons.secret import read_bytes
from stream_coupons.settings import Settings
from stream_coupons_console.web.app import create_app
from stream_coupons_console.web.security import CSRF, Sessions

from .client import TOKEN, open_console, settings_for, sign_in, until

WRITING = [
    re.sub(r"{\w+}", "x", route.path)
    for route in create_app(Settings(), Sessions(None), set()).routes
    if "POST" in (getattr(route, "methods", None) or ()) and not route.path.startswith(("/sign-", "/v1", "/mcp"))
]  # fmt: skip
"""Every path that a form may be sent to."""


def test_the_routes_that_write_are_found() -> None:
    assert len(WRITING) >= 11


@pytest.mark.parametrize("path", WRITING)
def test_nothing_is_written_without_a_token_and_a_form_of_this_session(path: str) -> None:
    def client(token: bytes | None) -> TestClient:
        app = create_app(Settings(), Sessions(token), {"console.test"})
        return TestClient(app, base_url="http://console.test", follow_redirects=False)

    assert client(None).post(path).status_code == 403
    one = client(TOKEN)
    assert one.post(path).status_code == 401
    sign_in(one)
    assert one.post(path).status_code == 403
    assert one.post(path, data={CSRF: "0" * 64}).status_code == 403


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: folder / f"{name}.key" for name in ("ann", "bob")}


@pytest.fixture(scope="module")
def rules(keys: dict[str, Path]) -> ApprovalRules:
    return ApprovalRules(required=1, keys={name: make_key(path) for name, path in keys.items()}, operator="ops")


class Visitor:
    """A person who is signed in."""

    def __init__(self, client: TestClient, settings: Settings) -> None:
        self.client, self.settings, self.csrf = client, settings, sign_in(client)

    def post(self, path: str, **values: str) -> Any:
        return self.client.post(path, data={CSRF: self.csrf} | values)

    def text(self, path: str) -> str:
        return plain(self.client.get(path).text)

    @property
    def coupons(self) -> dict[str, Coupon]:
        return published(self.settings, COUPONS).entries

    @property
    def campaigns(self) -> dict[str, Campaign]:
        return published(self.settings, CAMPAIGNS).entries


def plain(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html)))


def digest_of(html: str) -> str:
    found = re.search('name="digest" value="([0-9a-f]+)"', html)
    assert found is not None, plain(html)
    return found[1]


@pytest.fixture
def visitor(broker: BrokerProcess) -> Iterator[Visitor]:
    settings = settings_for(broker.bootstrap)
    with open_console(settings) as client:
        yield Visitor(client, settings)


@pytest.mark.kafka
def test_a_coupon_is_written_as_it_was_previewed_and_paused_after_that(visitor: Visitor, unique: str) -> None:
    form = {"coupon_id": unique, "title": "Tea", "discount_percent": "15", "max_discount_minor": "500"}
    seen = visitor.post("/coupons/new", **form, do="preview")
    assert "Shoppers get 15 %, at most 500, on everything." in plain(seen.text)
    assert "nothing limits what it costs" in plain(seen.text)
    changed = visitor.post("/coupons/new", **form | {"stock": "5"}, do="publish", digest=digest_of(seen.text))
    assert "Preview: nothing is written yet" in plain(changed.text)
    assert unique not in visitor.coupons
    written = visitor.post("/coupons/new", **form | {"stock": "5"}, do="publish", digest=digest_of(changed.text))
    assert written.headers["location"] == f"/coupons/{unique}"
    expected = Coupon(coupon_id=unique, title="Tea", discount_percent=15, max_discount_minor=500, stock=5)
    assert visitor.coupons[unique] == expected
    assert "At most 5 coupons are given." in visitor.text(f"/coupons/{unique}")
    assert visitor.post(f"/coupons/{unique}/pause").status_code == 303
    assert visitor.coupons[unique].paused
    assert "Resume" in visitor.text(f"/coupons/{unique}")
    edited = visitor.post(f"/coupons/{unique}/edit", **form, do="preview")  # `paused` was in the text area
    assert re.search("stock 5 none", plain(edited.text))
    assert visitor.post("/coupons/nope/pause").status_code == 404


@pytest.mark.kafka
def test_what_is_wrong_with_a_form_is_said_at_each_field_and_nothing_is_written(visitor: Visitor, unique: str) -> None:
    answer = visitor.post("/coupons/new", coupon_id=unique, stock="12,5", margin_ratio="300", do="publish")
    assert answer.status_code == 400
    text = plain(answer.text)
    assert "'12,5' is no number, write one such as 12.50" in text
    assert "'300' is stored as 3" in text
    assert "max_discount_minor : is missing, add it" in text
    assert unique not in visitor.coupons


@pytest.mark.kafka
def test_a_campaign_becomes_a_draft_and_is_approved_by_a_key_that_stays_with_its_owner(
    broker: BrokerProcess, unique: str, rules: ApprovalRules, keys: dict[str, Path]
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    settings = settings_for(broker.bootstrap, approval=rules)
    with open_console(settings) as client:
        visitor = Visitor(client, settings)
        form = {"campaign_id": unique, "budget_minor": "1,000", "holdout_ratio": "10", "reason": "plan"}
        seen = visitor.post("/campaigns/new", **form, do="preview")
        assert "1,050 can be spent of its budget of 1,000" in plain(seen.text)
        visitor.post("/campaigns/new", **form, do="publish", digest=digest_of(seen.text))
        assert visitor.campaigns[unique].state == "draft"
        path = f"/campaigns/{unique}/approve"
        assert "signature is of no key" in plain(visitor.post(path, signature="0" * 128).text)
        assert visitor.post(path).status_code == 400
        key = Ed25519PrivateKey.from_private_bytes(read_bytes(keys["bob"], "key", ""))
        signature = key.sign(client.get(f"/campaigns/{unique}/to-sign").content).hex()
        assert visitor.post(path, signature=signature, reason="good").status_code == 303
        assert (visitor.campaigns[unique].state, visitor.campaigns[unique].signatures[0].name) == ("approved", "bob")
        until(lambda: "key bob" in visitor.text(f"/campaigns/{unique}"))
        coupon = {"coupon_id": unique, "campaign_id": unique, "discount_percent": "5", "max_discount_minor": "9"}
        seen = visitor.post("/coupons/new", **coupon, do="preview")
        visitor.post("/coupons/new", **coupon, do="publish", digest=digest_of(seen.text))
        assert "signature is of no key" in plain(visitor.post(path, signature=signature).text)  # of earlier terms


@pytest.mark.kafka
def test_a_shopper_is_erased_by_who_types_the_id_and_vanishes(visitor: Visitor, unique: str) -> None:
    assert visitor.post("/shoppers/erase", user=unique, confirm="someone").status_code == 400
    answer = visitor.post("/shoppers/erase", user=unique, confirm=unique)
    assert answer.headers["location"] == f"/shoppers?user={unique}"
    with Reader(visitor.settings.kafka, [topics.ERASURES.name], from_beginning=True) as reader:
        values = [record.value for record in reader.read_to_end() if record.key == unique.encode()]
    [request] = map(Decoder(topics.ERASURES), values)
    assert isinstance(request, ErasureRequest)
    assert "to forget this shopper" in visitor.text(f"/shoppers?user={unique}")


def send_letter(settings: Settings, key: str, value: bytes, reason: str) -> None:
    details = {"reason": reason, "detail": "no event", "topic": topics.BROWSE.name, "partition": "0", "offset": "7"}
    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        headers = [(name, text.encode()) for name, text in details.items()]
        publisher.send_bytes(topics.DEAD_LETTERS, key.encode(), value, 0, headers)


def place_of(visitor: Visitor, key: str) -> str:
    """Return the place of the letter of a key, once the console has it."""

    def rows() -> list[str]:
        return [row for row in visitor.client.get("/dead-letters").text.split("<tr>") if f"<td>{key}</td>" in row]

    until(rows)
    [row] = rows()
    return row.partition("/dead-letters/")[2].partition('"')[0]


@pytest.mark.kafka
def test_a_dead_letter_is_sent_again_once_after_a_preview(visitor: Visitor, unique: str) -> None:
    good = b'{"event_id": "e", "user_id": "%s", "occurred_at": 1767348000}' % unique.encode()
    send_letter(visitor.settings, unique, good, unique)
    place = place_of(visitor, unique)
    text = visitor.text(f"/dead-letters/{place}")
    assert "Can be sent yes" in text
    assert '"user_id": "' + unique in text
    preview = plain(visitor.post("/dead-letters/redrive", reason=unique, do="preview").text)
    assert "1 record would be sent again; nothing was sent yet" in preview
    assert "1 record sent again" in plain(visitor.post(f"/dead-letters/{place}/redrive").text)
    again = plain(visitor.post("/dead-letters/redrive", reason=unique, do="send").text)
    assert "0 records sent again, 1 sent before" in again
    with Reader(visitor.settings.kafka, [topics.BROWSE.name], from_beginning=True) as reader:
        sent = [record.value for record in reader.read_to_end() if record.key == unique.encode()]
    assert sent == [good]
    assert visitor.client.get("/dead-letters/0:99999").status_code == 404


@pytest.mark.kafka
def test_a_record_that_would_be_refused_again_is_not_sent(visitor: Visitor, unique: str) -> None:
    send_letter(visitor.settings, unique, b"\xff{", "invalid")
    place = place_of(visitor, unique)
    text = visitor.text(f"/dead-letters/{place}")
    assert "it would be refused again" in text
    assert "not UTF-8: ff7b" in text
    assert "1 would be refused again" in plain(visitor.post(f"/dead-letters/{place}/redrive").text)


@pytest.mark.kafka
@pytest.mark.slow
def test_one_what_if_runs_at_a_time_and_can_be_cancelled(visitor: Visitor, unique: str) -> None:
    with Publisher(visitor.settings.kafka, visitor.settings.kafka.partitions) as publisher:
        publisher.send(topics.CAMPAIGNS, Campaign(campaign_id=unique, state="draft"))
    until(lambda: visitor.client.get(f"/campaigns/{unique}").status_code == 200)
    assert visitor.post("/what-if", campaign=unique).status_code == 303
    assert "Playing the events of the last 7d" in visitor.text("/what-if")
    assert "is being played" in plain(visitor.post("/what-if", campaign=unique).text)
    visitor.post("/what-if/cancel")
    assert "it was cancelled" in visitor.text("/what-if")
    assert visitor.post("/what-if", campaign=unique, since="9y").status_code == 400
