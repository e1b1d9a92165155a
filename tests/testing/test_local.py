"""The whole system in one process: the golden journey, determinism, and the limits in a simulated shop."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.messages.neighbours import NeighbourUpdate, UserVector
from stream_coupons.core.money.accounts import budgets_of, campaign_of, money_of, units_of
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.rules import NeighbourhoodRules, PolicyRules, ProfileRules
from stream_coupons.core.vectors.sparse import feature_index
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Output
from stream_coupons.runtime.steps import Result
from stream_coupons.settings import Settings
from stream_coupons.testing import START as AT
from stream_coupons.testing import LocalPipeline, browse, cart, coupon, item, observed, order
from stream_coupons_lab.simulation.shoppers import World, WorldSettings
from tests.core.builders import for_life

pytestmark = pytest.mark.long

DAY_S = 86400.0
GOLDEN = Settings(
    profile=ProfileRules(browse_weight=1.0, cart_weight=1.0, order_weight=1.0),
    neighbourhood=NeighbourhoodRules(cells=1, publish_every_s=0.0),
    policy=PolicyRules(
        exploration_ratio=0.0,
        holdout_ratio=0.0,
        cooldown_s=0.0,
        triggers=frozenset(["browse"]),
        min_value_minor=-1000.0,
        new_shopper_ratio=1.0,
    ),
)


def coupons_for(items: str) -> list[Coupon]:
    """A coupon for each of these items, named by one letter."""
    return [coupon(name, items=[name], typical_price_minor=None, stock=5, not_while_held="none") for name in items]


COUPONS = coupons_for("ABCD")


def message_of(output: Output) -> msgspec.Struct | None:
    """The message in a record that was sent; None for a dead letter."""
    topic = topics.BY_NAME[output.topic]
    return Decoder(topic)(output.value, limit=2**31) if topic.message is not None else None


def long(name: str) -> str:
    """An id as long as one may be."""
    return name.ljust(200, "ü")


class Recorded:
    """A pipeline and all that was said in it."""

    def __init__(self, settings: Settings, coupons: list[Coupon], **options: Any) -> None:
        self.facts = Counter[tuple[str, str]]()
        self.pipeline = LocalPipeline(settings, coupons, on_result=self._count, **options)
        self.outputs = self.pipeline.outputs

    def _count(self, result: Result) -> None:
        self.facts.update(result.facts)

    def purses(self, partition: int = 0) -> Mapping[str, Purse]:
        """What a partition may give, by account."""
        shared = self.pipeline.owners["users"].batches.shared(partition)
        return {name: state for name, state in shared.items() if isinstance(state, Purse)}

    def wire(self) -> list[bytes]:
        return [msgspec.msgpack.encode(output) for output in self.outputs]

    def journey(self, user: str, browsed: str, carted: str, ordered: str) -> None:
        self.pipeline.publish(
            browse(user, item(browsed), event_id=f"{user}-b"),
            cart(user, item(carted)),
            order(user, item(ordered)),
        )


def golden_with(coupons: list[Coupon]) -> Recorded:
    recorded = Recorded(GOLDEN, coupons)
    recorded.journey("u2", "B", "C", "D")
    recorded.journey("u3", "C", "D", "A")
    recorded.journey("u1", "A", "B", "C")
    recorded.pipeline.publish(browse("u1", at=AT + 1, event_id="z"))
    return recorded


@pytest.fixture
def golden() -> Recorded:
    return golden_with(COUPONS)


def test_golden_case_the_neighbours_are_two_thirds_alike(golden: Recorded) -> None:
    update = [update for update in golden.pipeline.messages(NeighbourUpdate) if update.user_id == "u1"][-1]
    assert {neighbour.user_id: neighbour.similarity for neighbour in update.neighbours} == pytest.approx(
        {"u2": 2 / 3, "u3": 2 / 3}
    )
    sums = dict(zip(update.indices, update.weights, strict=True))
    assert sums[feature_index("item:D")] == pytest.approx(4 / 3, abs=1e-8)


@pytest.mark.parametrize(("margin_ratio", "expected"), [(0.6, {"A", "B"}), (0.25, {"D"})])
def test_golden_case_u1_is_given_what_u1_turned_to_unless_discounts_on_orders_made_anyway_cost_too_much(
    margin_ratio: float, expected: set[str]
) -> None:
    coupons = [msgspec.structs.replace(each, margin_ratio=margin_ratio) for each in COUPONS]
    issue = golden_with(coupons).pipeline.messages(CouponIssue)[-1]
    assert (issue.user_id, issue.trigger_id) == ("u1", "z")
    assert issue.coupon_id in expected


def test_golden_case_of_strange_items_u1_is_given_that_of_the_neighbours_and_told_why() -> None:
    issue = golden_with(coupons_for("DEF")).pipeline.messages(CouponIssue)[-1]
    assert (issue.user_id, issue.trigger_id, issue.coupon_id) == ("u1", "z", "D")
    reasons = {reason.feature: reason.contribution for reason in issue.reasons}
    assert reasons["near_scope_share"] > 0


def test_golden_case_every_trigger_has_one_issue_and_the_books_agree(golden: Recorded) -> None:
    issues = golden.pipeline.messages(CouponIssue)
    assert [issue.trigger_id for issue in issues] == ["u2-b", "u3-b", "u1-b", "z"]
    assert len(golden.pipeline.messages(UserVector)) == 10
    given = Counter(issue.coupon_id for issue in issues)
    drawn = {account_id: purse.drawn for account_id, purse in golden.purses().items()}
    assert drawn == {units_of(name): count for name, count in given.items()} | {
        money_of(name): 100 * count for name, count in given.items()
    }
    assert all(purse.freed == purse.spent == 0 for purse in golden.purses().values())


def test_golden_case_twice_gives_the_same_bytes_and_states(golden: Recorded) -> None:
    again = Recorded(GOLDEN, COUPONS)
    for output in golden.outputs:
        if output.topic in {topic.name for topic in topics.INPUTS}:
            again.pipeline.publish_bytes(output.topic, output.key, output.value)
    assert again.wire() == golden.wire()
    assert list(again.pipeline.states()) == list(golden.pipeline.states())


def test_anything_that_is_no_message_is_a_dead_letter_and_the_rest_goes_on(golden: Recorded) -> None:
    issues = len(golden.pipeline.messages(CouponIssue))
    for topic in topics.READ_BY_AGENTS:
        golden.pipeline.publish_bytes(topic.name, b"u1", b"\xff")
    letters = [output for output in golden.outputs if output.topic == topics.DEAD_LETTERS.name]
    assert len(letters) == len(topics.READ_BY_AGENTS)
    golden.pipeline.publish(browse("u1", at=AT + 2))
    assert len(golden.pipeline.messages(CouponIssue)) == issues + 1


# ---------------------------------------------------------------- a simulated shop

WORLD = WorldSettings(seed=5, shoppers=80, coupons=12, days=5)
SIMULATED = Settings(
    policy=PolicyRules(cooldown_s=3600.0, min_value_minor=-1e6, exploration_ratio=0.2, new_shopper_ratio=1.0)
)


SPRING = Campaign(campaign_id="spring", budget_minor=60_000)


class Simulated(Recorded):
    """A few days of a world whose shoppers are given what the system issues; stock and budget are scarce."""

    def __init__(self) -> None:
        self.world = World(WORLD)
        scarce = [
            msgspec.structs.replace(
                each,
                stock=8 + n % 4,
                budget_minor=each.max_discount_minor * (6 + n % 3),
                caps=for_life(1 + n % 2),
                redeem_within_s=DAY_S,
                budget_hold="maximum" if n % 2 else "quantile",
                campaign_id="spring" if n % 3 else None,
            )
            for n, each in enumerate(self.world.catalogue())
        ]
        self.terms = {each.coupon_id: each for each in scarce}
        super().__init__(SIMULATED, scarce, campaigns=[SPRING])
        heard = 0
        while self.world.now < self.world.ends_at:
            self.pipeline.publish(*(event for _, event in self.world.advance(self.world.now + 3600.0)))
            self.pipeline.tick(self.world.now)
            for output in self.outputs[heard:]:
                if output.topic == topics.ISSUES.name:
                    self.world.receive(message_of(output))  # type: ignore[arg-type]
            heard = len(self.outputs)


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return Simulated()


def test_something_happens_in_the_simulated_shop(simulated: Simulated) -> None:
    assert len(simulated.pipeline.messages(CouponIssue)) > 20
    assert {kind for noun, kind in simulated.facts if noun == "end"} == {"redeemed", "expired"}
    assert len(simulated.pipeline.trainer.models) == 1
    assert max(issue.model_version for issue in simulated.pipeline.messages(CouponIssue)) > 0
    assert topics.DEAD_LETTERS.name not in simulated.pipeline.sent


def test_stock_budget_and_caps_hold_at_every_prefix_of_the_simulated_log(simulated: Simulated) -> None:
    """Where the most is held it is held until the window has closed, whatever a purchase took off."""
    stock: dict[str, int] = defaultdict(int)
    cost: dict[str, dict[str, int]] = defaultdict(dict)
    own: dict[tuple[str, str], int] = defaultdict(int)
    for output in simulated.outputs:
        message = message_of(output) if output.topic in topics.BY_NAME else None
        if isinstance(message, CouponIssue):
            terms = simulated.terms[message.coupon_id]
            stock[message.coupon_id] += 1
            own[message.user_id, message.coupon_id] += 1
            assert stock[message.coupon_id] <= (terms.stock or 0)
            assert own[message.user_id, message.coupon_id] <= terms.caps[0].n
            if terms.budget_hold == "maximum":
                assert message.held_minor == message.max_discount_minor
                cost[message.coupon_id][message.issue_id] = message.max_discount_minor
                assert sum(cost[message.coupon_id].values()) <= (terms.budget_minor or 0)
        elif isinstance(message, TrainingExample) and message.issue_id in cost[message.coupon_id]:
            cost[message.coupon_id][message.issue_id] = message.discount_minor
    assert any(stock[name] == terms.stock for name, terms in simulated.terms.items())
    assert {simulated.terms[name].budget_hold for name in stock} == {"maximum", "quantile"}


def test_accounts_of_the_simulated_shop_have_what_issues_hold_and_redemptions_take(simulated: Simulated) -> None:
    issues = {issue.issue_id: issue for issue in simulated.pipeline.messages(CouponIssue)}
    held: dict[str, int] = defaultdict(int)
    spent: dict[str, int] = defaultdict(int)
    for issue in issues.values():
        for account_id in budgets_of(issue.coupon_id, issue.campaign_id):
            held[account_id] += issue.held_minor
    for event in simulated.pipeline.messages(FeedbackEvent):
        if event.kind == "purchase":
            issue = issues[event.issue_id]
            for account_id in budgets_of(issue.coupon_id, issue.campaign_id):
                spent[account_id] += min(event.discount_minor or 0, issue.max_discount_minor)
    purses = simulated.purses()
    for account_id, amount in held.items():
        purse = purses[account_id]
        assert (purse.drawn, purse.spent, purse.refunded) == (amount + spent[account_id], spent[account_id], 0)
        assert purse.spent <= purse.committed <= purse.granted + purse.spent
    assert spent[campaign_of("spring")] > 0
    counts = Counter(issue.coupon_id for issue in issues.values())
    assert all(purses[units_of(name)].drawn == count for name, count in counts.items())


def test_the_frequency_cap_holds_in_the_simulated_shop(simulated: Simulated) -> None:
    times: dict[str, list[float]] = defaultdict(list)
    for issue in simulated.pipeline.messages(CouponIssue):
        times[issue.user_id].append(issue.issued_at)
    policy = SIMULATED.policy
    for own in times.values():
        for at in own:
            assert sum(at - policy.issue_window_s < other <= at for other in own) <= policy.max_issues_per_window


def test_every_trigger_has_at_most_one_issue_and_every_issue_one_content(simulated: Simulated) -> None:
    issues = simulated.pipeline.messages(CouponIssue)
    assert len({issue.issue_id for issue in issues}) == len(issues)
    assert len({(issue.user_id, issue.trigger_id) for issue in issues}) == len(issues)


def test_the_same_simulated_log_gives_the_same_bytes_states_and_models(simulated: Simulated) -> None:
    again = Recorded(SIMULATED, list(simulated.terms.values()), campaigns=[SPRING])
    ours = {topic.name for topic in (*topics.INPUTS, topics.TICKS)}
    for output in simulated.outputs:
        if output.topic in ours:
            again.pipeline.publish_bytes(output.topic, output.key, output.value)
    assert again.wire() == simulated.wire()
    assert list(again.pipeline.states()) == list(simulated.pipeline.states())
    one, other = (
        {name: head.state() for name, head in pipeline.trainer.models["ecommerce"].heads.items()}
        for pipeline in (again.pipeline, simulated.pipeline)
    )
    assert one == other


def test_stock_in_leases_of_many_partitions_is_given_to_the_last_unit_and_no_further() -> None:
    case = Recorded(GOLDEN, [coupon("few", stock=9, budget_minor=100_000)], partitions=4)
    for n in range(200):
        at = AT + n
        case.pipeline.publish(browse(f"u{n}", at=at))
        case.pipeline.tick(at)
    assert len(case.pipeline.messages(CouponIssue)) == 9
    purses = [case.purses(partition)[units_of("few")] for partition in range(4)]
    assert sum(purse.drawn for purse in purses) == 9
    assert all(purse.available == 0 for purse in purses)


@pytest.mark.parametrize("holdout_ratio", [0.0, 1.0])
def test_the_longest_ids_and_texts_lead_to_outputs_that_their_readers_take(holdout_ratio: float) -> None:
    text = {f"{n}".ljust(64, "k"): "v" * 500 for n in range(12)}
    coupons = [
        coupon(long(name), title=long(name), kind=long(name), max_discount_minor=9, attributes=text)
        for name in "ABCDEF"
    ]
    policy = PolicyRules(holdout_ratio=holdout_ratio, exploration_ratio=1.0, min_value_minor=-1000.0, explain_top=100)
    case = Recorded(Settings(policy=policy), coupons)
    pipeline, what = case.pipeline, item(long("i"), category=long("c"), brand=long("b"))
    for n in range(4):
        at = AT + n * 60 * DAY_S
        ids: dict[str, Any] = {"event_id": long(f"o{n}"), "issue_id": long(f"o{n}")}
        pipeline.publish(
            cart(long("u"), what, at=at, event_id=long(f"e{n}"), context=text),
            observed(long("u"), long("A"), at=at, expires_at=at + DAY_S, context=text, **ids),
        )
        pipeline.tick(at + 30 * DAY_S)
    assert case.pipeline.messages(TrainingExample)
    assert {one.withheld for one in case.pipeline.messages(TrainingExample)} == {holdout_ratio == 1.0, False}
    assert bool(case.pipeline.messages(CouponIssue)) == (holdout_ratio == 0.0)
    for output in case.outputs:
        assert output.topic != "dead-letters", output.headers
        Decoder(topics.BY_NAME[output.topic])(output.value)
