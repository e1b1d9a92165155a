"""Journeys of campaign owners and operators through the console, in a real browser, on a running system."""

import time
from collections.abc import Callable

import pytest

from benchmarks.browser import CHROMIUM, Browser
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder

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

    def follow(self, text: str, within: str = "body") -> None:
        """Click the link or button that has a text, and wait for the page behind it."""
        self.browser.evaluate("document.documentElement.dataset.old = '1'")
        some = f"[...document.querySelectorAll({within!r} + ' :is(a, button)')]"
        found = f"{some}.find((e) => e.innerText.trim() === {text!r})"
        self.browser.until(found)
        self.browser.evaluate(f"{found}.click()")
        self.browser.until("document.documentElement?.dataset.old === undefined && document.readyState === 'complete'")

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


def issues_of(live: LiveConsole, campaign_id: str) -> list[CouponIssue]:
    """Return the coupons of a campaign that were given so far."""
    decode = Decoder(topics.ISSUES)
    with Reader(live.system.settings.kafka, [topics.ISSUES.name], from_beginning=True) as reader:
        found: list[CouponIssue] = [decode(record.value) for record in reader.read_to_end()]
    return [one for one in found if one.campaign_id == campaign_id]


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
    operator.live.system.wait_idle(WITHIN_S)
    given = len(issues_of(live, "spring"))
    eventually(lambda: len(issues_of(live, "clearance")) > 0, "other coupons are given")
    last = max(one.issued_at for one in issues_of(live, "spring"))
    shown = time.strftime("%H:%M:%S", time.gmtime(last))
    operator.wait_for(shown, ".stats")
    assert len(issues_of(live, "spring")) == given
    operator.follow("Resume", "main")
    operator.wait_for("running", ".stats")
    eventually(lambda: len(issues_of(live, "spring")) > given, "coupons are given again")


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
@pytest.mark.parametrize("path", ["/", "/campaigns/spring", "/now"])
def test_no_page_is_wider_than_a_phone(visitor: Visitor, path: str, scheme: str) -> None:
    visitor.open(path, width=390, scheme=scheme)
    assert visitor.browser.evaluate("document.documentElement.scrollWidth") == 390
    assert visitor.browser.console == []


def test_the_latest_decisions_say_why(visitor: Visitor) -> None:
    visitor.open("/now")
    visitor.wait_for("expected to add", ".ticker")
    visitor.wait_for("got none:", ".ticker")
    visitor.wait_for("it is expected to cost more than it brings", "[data-live=why]")
