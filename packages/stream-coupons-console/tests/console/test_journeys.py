"""Journeys of campaign owners and operators through the console, in a real browser, on a running system."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka.admin import OffsetSpec

from benchmarks.browser import CHROMIUM, Browser
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder, encode

from .conftest import LiveConsole

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]

WITHIN_S = 60.0


class Visitor:
    """A person at the console.

    Parameters
    ----------
    browser : Browser
        What they look through.
    live : LiveConsole
        The console.
    """

    def __init__(self, browser: Browser, live: LiveConsole) -> None:
        self.browser, self.live = browser, live

    def open(self, path: str, *, width: int = 1280, scheme: str = "light") -> None:
        """Open a page."""
        self.browser.open(self.live.address + path, width=width, scheme=scheme)

    def text(self, selector: str = "main") -> str:
        """Return the visible text of an element."""
        return str(self.browser.evaluate(f"document.querySelector({selector!r}).innerText"))

    def wait_for(self, text: str, selector: str = "main") -> None:
        """Wait until an element has a text."""
        self.browser.until(f"document.querySelector({selector!r})?.innerText.includes({text!r})")

    def click_live(self, element: str) -> None:
        """Click the element of an expression as soon as it is there, before an update of the page replaces it."""
        self.browser.until(f"((one) => one && (one.click(), true))({element})")

    def wait_while_given(self, text: str, selector: str) -> None:
        """Wait until an element has a text, for as long as coupons are given, seen and used."""
        there = f"document.querySelector({selector!r})?.innerText.includes({text!r})"
        self._wait_while_it_moves(there, "document.querySelector('[data-live=coupons]')?.innerText")

    def wait_played(self) -> None:
        """Wait until a play has ended, for as long as it states progress."""
        progress = "document.querySelector('[data-live=play] [role=status]')?.innerText.split(': ').pop()"
        self._wait_while_it_moves(f"{progress} === undefined", progress)

    def _wait_while_it_moves(self, done: str, progress: str) -> None:
        """Wait until an expression is true, for as long as the value of another one changes."""
        while not self.browser.evaluate(f"Boolean({done})"):
            before = json.dumps(self.browser.evaluate(progress))
            self.browser.until(f"{done} || {progress} !== {before}")

    def follow(self, text: str, within: str = "body") -> None:
        """Click the link or button that has a text, and wait for the page behind it."""
        self.browser.evaluate("document.documentElement.dataset.old = '1'")
        some = f"[...document.querySelectorAll({within!r} + ' :is(a, button)')]"
        found = f"{some}.find((e) => e.innerText.trim() === {text!r})"
        self.browser.until(found)
        self.browser.evaluate(f"{found}.click()")
        self.browser.until("document.documentElement?.dataset.old === undefined && document.readyState === 'complete'")

    def fill(self, **texts: str) -> None:
        """Put texts into the fields of these names; a name of several parts has `__` for its dot."""
        for name, text in texts.items():
            self.browser.write(f"[name='{name.replace('__', '.')}']", text)

    def sign_in(self) -> None:
        """Give the token."""
        self.open("/sign-in")
        self.browser.write("input[name=token]", self.live.token)
        self.follow("Sign in", "main")
        self.wait_for("Sign out", "header")

    def sign_out(self) -> None:
        """Give up the session."""
        self.open("/")
        if "Sign out" in self.text("header"):
            self.follow("Sign out", "header")


@pytest.fixture
def visitor(browser: Browser, live: LiveConsole) -> Visitor:
    """Somebody who has not signed in."""
    found = Visitor(browser, live)
    found.sign_out()
    return found


@pytest.fixture
def operator(browser: Browser, live: LiveConsole) -> Visitor:
    """Somebody who has signed in."""
    found = Visitor(browser, live)
    found.sign_in()
    return found


def eventually(check: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WITHIN_S
    while not check():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s: {what}"
        time.sleep(0.2)


def wait_done(live: LiveConsole) -> None:
    """Wait until what the shop has sent until now is committed; it goes on sending, so that lag is hardly ever 0."""
    kafka = live.system.settings.kafka
    with admin.admin_client(kafka) as client:
        tps = list(admin.committed_offsets(client, kafka))
        ends = client.list_partition_offsets(dict.fromkeys(tps, OffsetSpec.LATEST))

        def is_done() -> bool:
            committed = admin.committed_offsets(client, kafka)
            return all(committed[tp].offset >= end.offset for tp, end in ends.items())

        eventually(is_done, "what was sent is committed")


def issues_of(live: LiveConsole, campaign_id: str) -> list[CouponIssue]:
    """Return the coupons of a campaign that were given so far."""
    return [one for one in all_issues(live) if one.campaign_id == campaign_id]


def all_issues(live: LiveConsole) -> list[CouponIssue]:
    """Return the coupons that were given so far."""
    decode = Decoder(topics.ISSUES)
    with Reader(live.system.settings.kafka, [topics.ISSUES.name], from_beginning=True) as reader:
        return [decode(record.value) for record in reader.read_to_end()]


def test_the_first_page_counts_coupons_and_updates_itself(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.wait_for("Coupons given")
    given = "Number(document.querySelector('.stats b').innerText.replaceAll(',', ''))"
    visitor.browser.until(f"{given} > 0")
    before = visitor.browser.evaluate(given)
    visitor.browser.evaluate("window.isTheSamePage = true")
    visitor.browser.until(f"{given} > {before}")
    assert visitor.browser.evaluate("window.isTheSamePage") is True
    assert visitor.browser.console == []
    assert all(url.startswith(visitor.live.address) for url in visitor.browser.requests)


def test_a_campaign_is_paused_its_last_coupon_seen_and_resumed(operator: Visitor) -> None:
    live = operator.live
    eventually(lambda: bool(issues_of(live, "spring")), "a coupon of the campaign is given")
    operator.open("/")
    operator.follow("Spring", "main")
    operator.browser.write("form[action$='/pause'] input[name=reason]", "wrong picture")
    operator.follow("Pause", "main")
    operator.wait_for("paused", ".stats")
    assert "wrong picture" in operator.text("[data-live=history]")

    def is_paused() -> bool:
        given = len(issues_of(live, "spring"))
        time.sleep(1.0)
        wait_done(live)
        return len(issues_of(live, "spring")) == given

    eventually(is_paused, "the worker has read it")
    given = len(issues_of(live, "spring"))
    eventually(lambda: len(issues_of(live, "clearance")) > 0, "other coupons are given")
    last = max(one.issued_at for one in issues_of(live, "spring"))
    shown = time.strftime("%H:%M:%S", time.gmtime(last))
    operator.wait_for(shown, ".stats")
    assert len(issues_of(live, "spring")) == given
    operator.follow("Resume", "main")
    operator.wait_for("running", ".stats")
    eventually(lambda: len(issues_of(live, "spring")) > given, "coupons are given again")


def test_what_a_coupon_has_earned_is_two_clicks_away(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.follow("Coupons", "header")
    visitor.follow("15 % off tea", "main")
    visitor.wait_for("15 % off")
    visitor.wait_for("tea", "[data-live=terms]")
    visitor.wait_for("of those given", ".stats")
    visitor.wait_for("Margin over control:")
    visitor.browser.until("/campaign|too early/.test(document.querySelector('[data-live=lift]').innerText)")


@pytest.mark.timeout(900)
def test_a_campaign_lives_from_a_draft_until_its_guardrail_holds_it(operator: Visitor) -> None:
    live = operator.live
    operator.open("/campaigns/new")
    operator.fill(campaign_id="summer", title="Summer", budget_minor="900,000", guardrails__redemption_ratio="0.01")
    operator.follow("Preview", "form")
    operator.wait_for("It becomes a draft", ".preview")
    operator.fill(reason="a first trial")
    operator.follow("Publish", ".preview")
    operator.wait_for("draft", ".stats")

    operator.open("/campaigns/summer")
    operator.follow("Add a coupon", "main")
    operator.fill(coupon_id="summer-all", title="30 % off in summer", discount_percent="30", priority="100")
    operator.follow("Preview", "form")
    operator.wait_for("Nothing was written. Correct 1 field", ".notice")
    operator.wait_for("max_discount_minor", ".notice")
    operator.fill(max_discount_minor="300", margin_ratio="90", typical_price_minor="5,000", redeem_within_s="0.01")
    operator.follow("Preview", "form")
    operator.wait_for("nothing is written yet", ".preview")
    operator.follow("Publish", ".preview")
    operator.wait_for("30 % off in summer", "h1")

    operator.open("/campaigns/summer")
    operator.follow("Stage", "main")
    operator.wait_for("staged", ".stats")
    operator.follow("What if it went live?", "main")
    operator.wait_played()
    operator.wait_for("Decisions changed")

    operator.open("/campaigns/summer")
    for count, key in enumerate(live.keys.values(), 1):
        operator.browser.choose("[data-key]", key)
        operator.follow("Approve", "main")
        operator.wait_for(f"Approvals: {count} of 2")
    operator.wait_for("approved", ".stats")
    operator.fill(ratio="50")
    operator.follow("Launch", "main")
    operator.wait_for("to 50.0% of the shoppers", ".stats")
    operator.wait_for("held", ".stats")
    operator.wait_while_given("guardrail", "[data-live=history]")
    history = operator.text("[data-live=history]")
    for text in ("push", "stage", "approve", "key ann", "key bob", "launch", "hold", "guardrail", "a first trial"):
        assert text in history
    given = issues_of(live, "summer")
    assert given
    assert all(one.coupon_id == "summer-all" for one in given)


def test_a_private_key_is_never_sent(operator: Visitor) -> None:
    operator.open("/campaigns/spring")
    operator.browser.choose("[data-key]", operator.live.keys["ann"])
    sent = operator.browser.evaluate("window.bodies = []; document.forms.length")
    assert sent > 0
    operator.browser.evaluate(
        "HTMLFormElement.prototype.submit = function () { window.bodies.push([...new FormData(this)].flat().join()) }"
    )
    operator.browser.click("form[data-sign] button")
    operator.browser.until("window.bodies.length > 0")
    [body] = operator.browser.evaluate("window.bodies")
    key = operator.live.keys["ann"].read_text().strip()
    assert key not in body
    assert re.search("[0-9a-f]{128}", body)


def test_a_wrong_key_says_what_is_expected(operator: Visitor, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.key"
    wrong.write_text("no key")
    operator.open("/campaigns/spring")
    operator.browser.choose("[data-key]", wrong)
    operator.browser.click("form[data-sign] button")
    operator.wait_for("expected what campaigns keygen wrote", "[data-said]")


def test_a_shopper_s_page_says_why_they_got_nothing(visitor: Visitor) -> None:
    visitor.open("/now")
    visitor.wait_for("got none:", ".ticker")
    some = "[...document.querySelectorAll('.ticker li')].find((e) => e.innerText.includes('got none'))"
    visitor.click_live(f"{some}?.querySelector('a')")
    visitor.wait_for("What they would get now")
    visitor.wait_for("Latest decisions")
    assert "got none" in visitor.text("[data-live=decisions]")
    assert "Half price cakes" in visitor.text()


def test_an_issue_says_why_this_coupon_and_not_another(visitor: Visitor) -> None:
    def chosen() -> list[CouponIssue]:
        return [one for one in all_issues(visitor.live) if not one.is_explored]

    # Among the latest decisions may be none: later on, the shop's model may find that no coupon adds anything.
    eventually(lambda: bool(chosen()), "a coupon is given for its value")
    newest = max(chosen(), key=lambda one: one.issued_at)
    visitor.open(f"/shoppers?user={newest.user_id}")
    visitor.wait_for("expected to add", "[data-live=decisions]")
    visitor.click_live(f"document.querySelector('[data-live=decisions] a[href$=\"{newest.issue_id}\"]')")
    visitor.wait_for("How it was chosen")
    visitor.wait_for("highest expected value")
    assert "Why not the others" in visitor.text()


def test_a_dead_letter_is_found_and_sent_again(operator: Visitor) -> None:
    live = operator.live
    event = BrowseEvent(event_id="astray", user_id="shopper-7", occurred_at=time.time())
    kafka = live.system.settings.kafka
    right = topics.partition_for(b"shopper-7", kafka.partitions)
    with Publisher(kafka, kafka.partitions) as publisher:
        wrong = (right + 1) % kafka.partitions
        publisher.send_bytes(topics.BROWSE, b"shopper-7", encode(event), wrong)
    operator.open("/dead-letters")
    operator.wait_for("wrong_partition")
    operator.browser.evaluate("document.querySelector('main a[href^=\"/dead-letters/\"]').click()")
    operator.wait_for("astray")
    operator.follow("Send again", "main")
    operator.wait_for("sent")
    with Reader(kafka, [topics.BROWSE.name], from_beginning=True) as reader:
        places = [one.partition for one in reader.read_to_end() if one.value == encode(event)]
    assert sorted(places) == sorted([wrong, right])


@pytest.mark.parametrize(("path", "text"), [("/models", "ecommerce"), ("/lift", "control")])
def test_models_and_lift_are_shown(visitor: Visitor, path: str, text: str) -> None:
    visitor.open(path)
    visitor.wait_for(text)
    assert visitor.browser.console == []


def test_an_erased_shopper_vanishes(operator: Visitor) -> None:
    operator.open("/now")
    operator.wait_for("got", ".ticker")
    user = operator.browser.evaluate("document.querySelector('.ticker a').innerText")
    operator.open(f"/shoppers?user={user}")
    operator.wait_for("Latest decisions")
    operator.fill(confirm="somebody else")
    operator.follow("Erase", "main")
    assert "type" in operator.text(".notice")
    operator.open(f"/shoppers?user={user}")
    operator.fill(confirm=user)
    operator.follow("Erase", "main")
    operator.open(f"/shoppers?user={user}")
    operator.wait_for("It was asked at")


def test_who_has_not_signed_in_changes_nothing(visitor: Visitor) -> None:
    visitor.open("/campaigns/spring")
    assert visitor.browser.evaluate("document.querySelectorAll('main form').length") == 0
    post = "fetch('/campaigns/spring/pause', {method: 'POST', body: new URLSearchParams({reason: 'x'})})"
    visitor.browser.evaluate(f"{post}.then((answer) => (window.answered = answer.status))")
    visitor.browser.until("window.answered")
    assert visitor.browser.evaluate("window.answered") == 401


def test_a_wrong_token_is_refused(visitor: Visitor) -> None:
    visitor.open("/sign-in")
    visitor.browser.write("input[name=token]", "0" * 64)
    visitor.follow("Sign in", "main")
    visitor.wait_for("That is not the token")
    assert "Sign out" not in visitor.text("header")


def test_a_campaign_is_reached_by_keyboard_alone(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.wait_for("Spring")
    for _ in range(40):
        visitor.browser.press("Tab")
        if visitor.browser.evaluate("document.activeElement.innerText") == "Spring":
            break
    style = "getComputedStyle(document.activeElement)"
    assert visitor.browser.evaluate(f"{style}.outlineStyle") == "solid"
    visitor.browser.press("Enter")
    visitor.browser.until("location.pathname === '/campaigns/spring'")


def test_pages_read_and_forms_work_without_scripts(operator: Visitor) -> None:
    with operator.browser.without_scripts():
        operator.open("/campaigns/clearance")
        assert "Clearance" in operator.text("h1")
        operator.browser.click("form[action$='/hold'] button")
        operator.wait_for("held", ".stats")
        operator.browser.click("form[action$='/resume'] button")
        operator.wait_for("running", ".stats")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/campaigns/spring",
        "/coupons",
        "/coupons/tea-15",
        "/coupons/new",
        "/now",
        "/shoppers?user=shopper-1",
        "/dead-letters",
        "/models",
        "/lift",
    ],
)
def test_no_page_is_wider_than_a_phone(visitor: Visitor, path: str, scheme: str) -> None:
    visitor.open(path, width=390, scheme=scheme)
    assert visitor.browser.evaluate("document.documentElement.scrollWidth") == 390
    assert visitor.browser.console == []


def test_the_latest_decisions_say_why(visitor: Visitor) -> None:
    visitor.open("/now")
    visitor.wait_for("got none:", ".ticker")
    visitor.wait_for("it is expected to cost more than it brings", "[data-live=why]")
