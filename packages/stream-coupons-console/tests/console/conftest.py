"""A running system with a live shop and its console, for the tests of a module."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.browser import Browser
from benchmarks.console import reading_console, settings_of_shop
from benchmarks.live_shop import CAMPAIGNS, COUPONS, open_shop
from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.core.rules import ApprovalRules
from stream_coupons.ops.campaign_approval import Approver, make_key
from stream_coupons_lab.demo.system import LocalSystem

RunBroker = Callable[[], AbstractContextManager[BrokerProcess]]
VISITS_A_SECOND = 15.0


@dataclass(frozen=True)
class LiveConsole:
    """A console that may change things.

    Attributes
    ----------
    address : str
        URL without a slash at its end.
    token : str
        Its token.
    keys : dict of Path
        Files of the private keys of those who approve campaigns, by name.
    """

    address: str
    token: str
    keys: dict[str, Path]
    broker: BrokerProcess
    system: LocalSystem


@pytest.fixture(scope="module")
def live(run_broker: RunBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveConsole]:
    """One worker, a shop that stays open, and a console with a token; two people must approve a campaign."""
    folder = tmp_path_factory.mktemp("console")
    keys = {name: folder / f"{name}.key" for name in ("ann", "bob")}
    rules = ApprovalRules(required=2, keys={name: make_key(path) for name, path in keys.items()}, operator="ops")
    signers = [Approver(path, rules) for path in keys.values()]
    campaigns = list(CAMPAIGNS)
    for place, campaign in enumerate(CAMPAIGNS):
        for signer in signers:
            own = [coupon for coupon in COUPONS if coupon.campaign_id == campaign.campaign_id]
            campaigns[place] = signer.sign(campaigns[place], own)
    token = secret.make_bytes(folder / "console.token").hex()
    with run_broker() as broker:
        system = LocalSystem(broker, replace(settings_of_shop(), approval=rules), folder, workers=1)
        system.prepare(COUPONS, campaigns)
        with system:
            system.wait_ready()
            options = ("--token-file", str(folder / "console.token"))
            with (
                open_shop(system.settings, VISITS_A_SECOND, shoppers=400),
                reading_console(folder / "worker-1.toml", *options) as (address, _),
            ):
                yield LiveConsole(address, token, keys, broker, system)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with Browser() as opened:
        yield opened
