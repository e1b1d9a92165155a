"""Forms and updates in a real browser: a key signs without leaving it, a coupon is published by keyboard alone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from benchmarks.browser import CHROMIUM, COMPLETE, Browser
from loopback_kafka import BrokerProcess
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.rules import ApprovalRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.ops.campaign_approval import make_key
from stream_coupons.ops.catalogue_files import CAMPAIGNS, COUPONS
from stream_coupons.ops.published import published
from stream_coupons.settings import Settings
from stream_coupons_console.web.app import create_app
from stream_coupons_console.web.security import Sessions

from .client import TOKEN, settings_for, until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "ann.key"


@pytest.fixture
def settings(broker: BrokerProcess, key: Path) -> Settings:
    return settings_for(broker.bootstrap, approval=ApprovalRules(required=1, keys={"ann": make_key(key)}))


@pytest.fixture
def browser(settings: Settings) -> Iterator[Browser]:
    """A browser that is signed in to a console, and shows its coupons."""
    hosts: set[str] = set()
    app = create_app(settings, Sessions(TOKEN), hosts)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        address = "{}:{}".format(*server.servers[0].sockets[0].getsockname())
        hosts.add(address)
        until(lambda: app.state.follower.is_caught_up)
        with Browser() as opened:
            opened.open(f"http://{address}/sign-in?then=/coupons")
            opened.write("input[name=token]", TOKEN.hex())
            opened.press("Enter")
            opened.until("location.pathname === '/coupons'")
            yield opened
    finally:
        server.should_exit = True
        thread.join()


def go(browser: Browser, path: str, *, width: int = 1280) -> None:
    browser.open(str(browser.evaluate("location.origin")) + path, width=width)


def test_a_key_approves_a_campaign_and_never_leaves_the_browser(
    browser: Browser, settings: Settings, key: Path, unique: str, tmp_path: Path
) -> None:
    with Publisher(settings.kafka, settings.kafka.partitions) as publisher:
        publisher.send(topics.CAMPAIGNS, Campaign(campaign_id=unique, state="draft", budget_minor=500))
    form = "form[data-sign]"
    until(lambda: go(browser, f"/campaigns/{unique}") or browser.evaluate(f"!!document.querySelector('{form}')"))
    wrong = tmp_path / "wrong.key"
    wrong.write_text("no key")
    browser.choose(f"{form} [data-key]", wrong)
    browser.click(f"{form} button")
    browser.until("document.querySelector('[data-said]').innerText.includes('wrong.key is no key')")
    browser.choose(f"{form} [data-key]", key)
    browser.evaluate(
        "const submit = HTMLFormElement.prototype.submit;"
        "HTMLFormElement.prototype.submit = function () {"
        "  const sent = [...new FormData(this)].map(([name, value]) => `${name}=${value.name ?? value}`);"
        "  sessionStorage.sent = sent.join('&'); submit.call(this) }"
    )
    browser.click(f"{form} button")
    browser.until("document.body?.innerText.includes('Approvals: 1 of 1 (ann)')")
    sent = str(browser.evaluate("sessionStorage.sent"))
    assert "signature=" in sent
    assert key.read_text().strip() not in sent
    assert published(settings, CAMPAIGNS).entries[unique].state == "approved"
    assert all(address.startswith(str(browser.evaluate("location.origin"))) for address in browser.requests)


def test_a_coupon_is_published_by_keyboard_on_a_phone_and_the_fault_is_at_its_field(
    browser: Browser, settings: Settings, unique: str
) -> None:
    go(browser, "/coupons/new", width=390)
    browser.write("#f-coupon_id", unique)
    browser.write("#f-discount_percent", "12,5")
    browser.press("Enter")
    browser.until(f"{COMPLETE} && document.querySelector('#f-discount_percent[aria-invalid=true]')")
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    assert browser.evaluate("document.querySelector('#f-coupon_id').value") == unique
    browser.write("#f-discount_percent", "12.5")
    browser.write("#f-max_discount_minor", "300")
    browser.press("Enter")
    browser.until(f"{COMPLETE} && document.querySelector('.preview')")
    assert unique not in published(settings, COUPONS).entries
    browser.evaluate("document.querySelector('button[value=publish]').focus()")
    browser.press("Enter")
    browser.until(f"location.pathname === '/coupons/{unique}'")
    assert published(settings, COUPONS).entries[unique].discount_percent == 12.5
    refused = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    assert [line for line in browser.console if line != refused] == []


def test_no_change_is_missed_before_a_page_follows_or_while_it_updates(browser: Browser) -> None:
    go(browser, "/coupons")
    browser.until("document.documentElement.dataset.updates > 0")
    browser.evaluate("window.free = []; window.real = fetch")
    browser.evaluate("window.fetch = async (...all) => { await new Promise((f) => free.push(f)); return real(...all) }")
    browser.evaluate("update(); update(); free.pop()()")
    browser.until("free.length > 0")
