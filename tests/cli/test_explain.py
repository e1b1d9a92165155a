"""Explain: over what the agents sent, put into a broker's topics as they would have put it there."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.text import Text

from lab.decided import CATALOGUE, SETTINGS, STEP_S, busy_shop, order_later, whole_log
from loopback_kafka import BrokerProcess
from stream_coupons import secret
from stream_coupons.cli import explain_text
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.messages.catalogue import Campaign
from stream_coupons.core.messages.decisions import CouponIssue, LoggedDecision
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.rules import ShopRules
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.models.learner import DomainModel
from stream_coupons.models.rules import LearningRules
from stream_coupons.ops.explain.explanation import explain_issue, explain_shopper
from stream_coupons.ops.explain.funds import Funds
from stream_coupons.settings import Settings
from stream_coupons.testing import coupon
from tests.agents.fakes import Shop
from tests.core.builders import AT, FixedScorer, browse, rules, see

from .conftest import Run, write_lines
from .test_verify import put

RunBroker = Callable[[], AbstractContextManager[BrokerProcess]]
PARTITIONS = KafkaSettings().partitions


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = busy_shop(PARTITIONS)
    order_later(shop, "ann")
    return shop


@pytest.fixture(scope="module")
def idle(run_broker: RunBroker, shop: Shop) -> Iterator[str]:
    """A system that is idle, and whose changelogs were not compacted yet."""
    with run_broker() as broker:
        put(broker.bootstrap, whole_log(shop))
        yield broker.bootstrap


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of the agents."""
    path = tmp_path_factory.mktemp("explain") / "settings.toml"
    rates = ("exploration_ratio", "control_ratio", "holdout_ratio")
    changed = ("cooldown_s", "max_issues_per_window", "min_value_minor", *rates)
    lines = [f"{name} = {getattr(SETTINGS.policy, name)}" for name in changed]
    path.write_text("\n".join(["[policy]", *lines]))
    return path


def issues(shop: Shop) -> list[CouponIssue]:
    found: list[CouponIssue] = shop.messages(topics.ISSUES)
    return found


@pytest.mark.kafka
def test_an_issue_is_explained_by_what_the_topics_hold_of_it(run: Run, idle: str, shop: Shop) -> None:
    for issue in (issues(shop)[0], issues(shop)[-1]):
        result = run("explain", issue.issue_id, "-b", idle, "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        found = json.loads(result.stdout)
        assert msgspec.convert(found["issue"], CouponIssue) == issue
        decision = msgspec.convert(found["decision"], LoggedDecision)
        others = {one["coupon_id"] for one in found["others"]}
        assert others == {*decision.arms, *decision.sold_out} - {issue.coupon_id}
        assert [told["feature"] for told in found["reasons"]] == [reason.feature for reason in issue.reasons]


@pytest.mark.kafka
def test_an_issue_reads_as_text(run: Run, idle: str, config: Path, shop: Shop) -> None:
    issue, titled = issues(shop)[0], next(one for one in issues(shop) if one.coupon_id == "few")
    result = run("explain", issue.issue_id, "-b", idle, "-c", config)
    assert result.exit_code == 0
    said = result.stdout
    assert f"Issue {issue.issue_id}: tea, to shopper ann on 2001-09-09T01:46:40Z" in said
    assert f"drawn by chance, to learn how shoppers answer to it (propensity {issue.propensity:.4g})" in said
    assert f"redeem {issue.p_redeem:.1%}" in said
    assert "is for what this shopper looks at most (share of interest" in said
    assert "outranked: another one is worth more, less what its budgets charge" in said
    assert (
        f"{titled.issue_id}: few The first five, to" in run("explain", titled.issue_id, "-b", idle, "-c", config).stdout
    )


@pytest.mark.kafka
def test_by_another_key_than_the_workers_no_shopper_is_explained(run: Run, idle: str, config: Path) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=idle))
    secret.adopt(settings, DrawKey(b"another"))
    result = run("explain", "--user", "ann", "-b", idle, "-c", config)
    assert result.exit_code == 2
    assert "secret_file: not set, the public key has the fingerprint" in result.stderr
    secret.adopt(settings, PUBLIC_KEY)
    assert run("explain", "--user", "ann", "-b", idle, "-c", config).exit_code == 0


@pytest.mark.kafka
def test_what_a_shopper_would_get(run: Run, idle: str, config: Path, shop: Shop, tmp_path: Path) -> None:
    ask = ("explain", "--user", "ann", "-b", idle, "-c", config, "--at")
    later = shop.now + STEP_S
    found = json.loads(run(*ask, later, "--json").stdout)
    reasons = {one["coupon_id"]: one["reason"] for one in found["coupons"]}
    assert reasons == {
        "few": "sold_out",
        "ham": "shopper_cap",
        "late": "not_yet_valid",
        "tea": None,
        "trip": None,  # of another domain, and worth less
    }
    assert (found["at"], found["last_event_at"], found["objection"]) == (later, shop.now, None)
    text = run(*ask, later)
    chosen = "highest expected value after the budget's price; what is ranked above it is sold out (propensity 1)"
    assert f"gets: tea\nhow it is chosen: {chosen}" in text.stdout
    assert "sold_out (stock)" in text.stdout
    assert "units:few: 0 left in this shopper's partition" in text.stdout
    assert "models: ecommerce 0, travel 0" in text.stdout

    soon = json.loads(run(*ask, AT + 9 * STEP_S + 1, "--json").stdout)
    assert soon["objection"] == "cooldown"
    assert {one["reason"] for one in soon["coupons"]} >= {"cooldown", "sold_out"}
    text = run(*ask, AT + 9 * STEP_S + 1)
    assert "nothing: cooldown: this shopper was considered within policy.cooldown_s" in text.stdout
    assert "note: the state is that of now: it knows events up to" in text.stdout

    file = write_lines(tmp_path / "new.jsonl", {**msgspec.to_builtins(CATALOGUE[0]), "coupon_id": "new"})
    tried = json.loads(run(*ask, later, "--catalog", file, "--json").stdout)
    assert [(one["coupon_id"], one["reason"]) for one in tried["coupons"]] == [("new", None)]


@pytest.mark.kafka
def test_who_and_what_is_not_known_is_said(run: Run, idle: str) -> None:
    result = run("explain", "nonsense", "-b", idle)
    assert result.exit_code == 2
    assert "issue 'nonsense' is not in coupon-issues, which keeps 30 days" in result.stderr
    result = run("explain", "--user", "nobody", "-b", idle)
    assert result.exit_code == 2
    assert "shopper 'nobody' is not known" in result.stderr


@pytest.mark.kafka
def test_a_snapshot_that_workers_do_not_take_is_not_used(
    run: Run, run_broker: RunBroker, config: Path, shop: Shop
) -> None:
    with run_broker() as broker:
        put(broker.bootstrap, whole_log(shop))
        wrong: Any = msgspec.structs.replace(DomainModel("ecommerce", LearningRules()).snapshot(), feature_schema="old")
        event = shop.messages(topics.BROWSE)[0]
        with Publisher(Connection(broker.bootstrap), PARTITIONS) as publisher:
            publisher.send(topics.SNAPSHOTS, wrong)
            publisher.send_bytes(topics.BROWSE, event.user_id.encode(), encode(event))
        result = run("explain", "--user", "ann", "--json", "-b", broker.bootstrap, "-c", config)
        assert result.exit_code == 0
        assert "warning: the workers have not committed 1 record yet" in result.stderr
        assert json.loads(result.stdout)["model_versions"]["ecommerce"] == 0


def test_what_budgets_charge_is_said() -> None:
    spring = Campaign(campaign_id="spring", budget_minor=500, ends_at=AT + 86400.0)
    shared, dear = coupon("shared", discount_minor=20, campaign_id="spring"), coupon("dear", discount_minor=60)
    known = Knowledge(rules(min_value_minor=0.0), Catalogue([shared, dear], campaigns=[spring]), {}, FixedScorer())
    funds = Funds({"campaign:spring": Purse(granted=500, price=26.0)}, partition=0, partitions=1)
    said = explain_text.of_shopper(explain_shopper("u", Shopper(), AT, known, funds), ShopRules())
    lines = [part.plain for part in said if isinstance(part, Text)]
    assert "shared: worth 238.8, but the budget of campaign spring charges 260.0 for it" in lines
    [code] = [line for line in lines if line.startswith("priced_out: ")]
    assert code.endswith("no more than its budgets charge for its expected cost")

    funds.purses["campaign:spring"].price = 1.0  # type: ignore[attr-defined]
    effects = see(Shopper(), browse("now", AT), known, funds.wallet)
    [issue] = [message for message in effects.messages if isinstance(message, CouponIssue)]
    [decision] = [message for message in effects.messages if isinstance(message, LoggedDecision)]
    said = explain_text.of_issue(explain_issue(issue, decision, known.rules.policy), ShopRules())
    lines = [part.plain for part in said if isinstance(part, Text)]
    worth = "worth: +238.8 cents against giving none, of which its budgets charge 10.0 for its expected cost"
    assert (issue.coupon_id, worth in lines) == ("shared", True)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), "ISSUE_ID, --user: expected one of them"),
        (("i1", "--user", "ann"), "ISSUE_ID, --user: expected one of them"),
        (("i1", "--at", "0"), "--at, --catalog: an issue is as it was recorded, expected them with --user only"),
        (("--user", "ann", "--at", "noon"), "'noon' is not a time"),
    ],
)
def test_a_call_that_cannot_work_says_why(run: Run, args: tuple[str, ...], expected: str) -> None:
    result = run("explain", *args)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_a_catalogue_file_with_a_bad_coupon_is_refused(run: Run, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "bad.jsonl", {"coupon_id": "x"})
    result = run("explain", "--user", "ann", "--catalog", file)
    assert result.exit_code == 2
    assert "bad.jsonl: 1 entries are refused, expected none" in result.stderr
