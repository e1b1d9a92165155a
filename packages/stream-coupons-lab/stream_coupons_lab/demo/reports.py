"""The demonstration's result: the summary on the terminal, and one self-contained page."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stream_coupons import __version__
from stream_coupons.core.currencies import money
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.decisions import LoggedDecision
from stream_coupons.core.rules import PolicyRules
from stream_coupons.models.metrics import Interval
from stream_coupons.ops.audit.findings import Violation
from stream_coupons.ops.results import ResultRow
from stream_coupons_lab.demo import redemption, story, words
from stream_coupons_lab.demo.money import ABOUT, NAMES, NOTHING, Earned, verdict, whole
from stream_coupons_lab.demo.outcomes import Played
from stream_coupons_lab.demo.watch import Watch, total
from stream_coupons_lab.demo.words import CURRENCY, euros
from stream_coupons_lab.offline.quality import rate_interval
from stream_coupons_lab.reports.report import Axis, HtmlReport, format_value
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.catalogue import offer_of
from stream_coupons_lab.simulation.shoppers import WorldSettings

OURS = NAMES["learned"]
DAY = Axis("simulated day", from_zero=True)
HOW = (
    "The shoppers are simulated, so it is known what each coupon is worth at the moment it is handed over: the margin "
    "of orders that would not have been placed without it, less its discount, and less the discounts on orders that "
    "would have been placed anyway. The expected margin is the sum of that over all coupons given, and varies far less "
    "than what happened to be booked. Intervals are those of 95 %: what other shoppers of the same kind would have "
    "brought. A redemption counts for nothing beyond its margin."
)

SHOWN_COUPONS = 10


@dataclass(frozen=True, slots=True)
class ShopperResult:
    """Results of the demonstration.

    Attributes
    ----------
    live : Played
        The live system's results.
    rules : PolicyRules
        Rules of the workers.
    catalogue : list of Coupon
        The coupons there are to give.
    events : list
        (topic, event) of the shoppers so far, in the order in which they were sent.
    decisions : dict
        Recorded decisions so far, by id.
    live_s : float
        Seconds by the wall clock in which the live system answered the events; 0 before the end.
    played, rows : list
        Results of all policies, in order of display; empty if the live system did not play all days.
    violations : list of Violation
        Findings of the audit.
    coupons : list of ResultRow
        Results by coupon, as the workers report them.
    """

    world: WorldSettings
    live: Played
    watch: Watch
    rules: PolicyRules
    catalogue: list[Coupon] = field(default_factory=list)
    events: list[tuple[str, Struct]] = field(default_factory=list)
    decisions: dict[str, LoggedDecision] = field(default_factory=dict)
    live_s: float = 0.0
    played: list[Played] = field(default_factory=list)
    rows: list[Earned] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    coupons: list[ResultRow] = field(default_factory=list)

    def verdict(self) -> str:
        """Return what the figures say, in plain sentences."""
        return verdict(self.rows) if self.rows else "The demonstration was ended before its time: nothing is compared."

    def given_away(self) -> str:
        """Return what the live system did, in the words of a shop."""
        issues, done = self.live.outcomes.issues, self.live.statistics
        without_coupon = self.world.shoppers - len({issue.user_id for issue in issues})
        return (
            f"{len(issues):,} coupons were given and {done.redemptions:,} used: {euros(done.discount_minor)} given "
            f"away in discounts, {done.persuaded:,} orders won that would not have been placed, "
            f"{euros(done.incremental_margin_minor)} made after discounts. "
            f"{without_coupon:,} of {self.world.shoppers:,} shoppers got no coupon."
        )

    def audit(self) -> str:
        """Return what the audit found."""
        if not self.rows:
            return "not made"
        if not self.violations:
            return "clean: one issue per trigger, within stock, budget and caps, no lease beyond its limit"
        return f"{len(self.violations)} violations, the first: {self.violations[0]}"


def print_summary(console: Console, result: ShopperResult) -> None:
    """Print the summary of a whole run."""
    world = result.world
    title = f"{world.shoppers:,} simulated shoppers, {world.days} days, seed {world.seed}; money in {CURRENCY}"
    table = Table("policy", title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), title_justify="left")
    for header in ("coupons", "discounts", "won", "margin", "95 % interval"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_row(NOTHING, "0", "0", "0", "0", "")
    for row in result.rows:
        interval = f"{whole(row.expected.low)} to {whole(row.expected.high)}"
        discount, margin = whole(row.discount_minor), whole(row.expected.value)
        cells = f"{row.issues:,}", discount, f"{row.orders_won:,}", margin, interval
        table.add_row(row.name, *cells, style="bold" if row.policy == "learned" else "")
    console.print(table)
    console.print(result.verdict(), result.given_away(), sep="\n", highlight=False)
    decided = words.considered(result.watch.decisions())
    none = sum(decided.values()) - decided.get(words.GIVEN, 0)
    console.print(f"{none / max(sum(decided.values()), 1):.0%} of the decisions gave no coupon.", highlight=False)
    console.print("Why shoppers got nothing for what they did:", highlight=False)
    for why, count in list(words.reasons(result.watch.decisions()).items())[:5]:
        console.print(f"  {count:>8,}  {why}", highlight=False)
    console.print(f"audit of what was issued: {result.audit()}", highlight=False)


def write(result: ShopperResult, path: Path) -> None:
    """Write the page, making its folder."""
    title = f"{result.world.shoppers:,} simulated shoppers, {result.world.days} days"
    report = HtmlReport("Did the coupons pay?", f"stream_coupons on {title}", _footer(result))
    report.stats(_headlines(result))
    if result.rows:
        report.point_chart(
            "Expected incremental margin",
            [(NOTHING, 0.0, 0.0, 0.0)]
            + [(row.name, row.expected.value, row.expected.low, row.expected.high) for row in result.rows],
            Axis(f"{CURRENCY} more than no coupons", "money"),
            note="The same shoppers, caps, stocks and budgets under every policy. Bars are 95 % intervals.",
            highlight=OURS,
        )
    report.section("What it earned", "\n\n".join((result.verdict(), result.given_away(), HOW)))
    if result.rows:
        _add_comparison(report, result)
    _add_redemption(report, result)
    _add_story(report, result)
    _add_system(report, result)
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(path)


def _headlines(result: ShopperResult) -> list[tuple[str, str | float, str]]:
    issues, done = result.live.outcomes.issues, result.live.statistics
    margin_minor = sum(result.live.outcomes.margins.values())
    cards: list[tuple[str, str | float, str]] = []
    for row in result.rows:
        if row.policy == "learned":
            note = f"expected margin over giving no coupons, after discounts; {_interval(row.expected)}"
            cards = [("Earned", f"{whole(margin_minor)} {CURRENCY}", note)]
        elif row.policy == "random":
            over = ("More than random coupons", f"{whole(row.behind.value)} {CURRENCY}", _interval(row.behind))
    cards = [*cards, over] if result.rows else [("Earned so far", f"{whole(margin_minor)} {CURRENCY}", "expected")]
    holders = len({issue.user_id for issue in issues})
    given = f"to {holders:,} of {result.world.shoppers:,} shoppers; {done.redemptions:,} coupons were used"
    decided = words.considered(result.watch.decisions())
    none, count = words.reasons(decided), sum(decided.values())
    why = "; ".join(f"{times / count:.0%}: {why}" for why, times in none.items())
    return [
        *cards,
        ("Coupons given", f"{len(issues):,}", given),
        (
            "Decisions without a coupon",
            f"{sum(none.values()) / max(count, 1):.0%}",
            f"of {count:,.0f}. {why}",
        ),
    ]


def _interval(interval: Interval) -> str:
    return f"95 % interval {whole(interval.low)} to {whole(interval.high)} {CURRENCY}"


def _footer(result: ShopperResult) -> str:
    """Return what it takes to make the page again, and the time that it took."""
    world = result.world
    command = f"stream-coupons demo --seed {world.seed} --shoppers {world.shoppers} --days {world.days}"
    parts = [f"stream_coupons {__version__}, seed {world.seed}. The same figures again: {command}"]
    if result.live_s:
        rate = len(result.events) / result.live_s
        parts.append(
            f"Wall clock: the live system took {result.live_s:.0f} s for {len(result.events):,} events, {rate:,.0f} "
            f"events per second, on {os.cpu_count()} CPUs that also played the other policies. Each slice of simulated "
            "time waited until the last was answered: this is not the most that it can do."
        )
    return "\n\n".join(parts)


def _add_comparison(report: HtmlReport, result: ShopperResult) -> None:
    margins = {NAMES[one.policy]: [(0.0, 0.0), *one.margin_by_day] for one in result.played}
    report.line_chart("Expected margin so far", margins, DAY, Axis(CURRENCY, "money"), highlight=OURS)
    report.table(
        ["policy", "coupons", "used", f"given away, {CURRENCY}", "orders won", f"booked margin, {CURRENCY}"],
        [[NOTHING, 0, 0, 0.0, 0, 0.0], *map(_cells, result.rows)],
    )
    report.table(["policy", "gives"], [[row.name, ABOUT[row.policy]] for row in result.rows])
    _add_kinds(report, result)


def _cells(row: Earned) -> Sequence[str | float]:
    given_away, booked = (round(minor / 100, 2) for minor in (row.discount_minor, row.booked_minor))
    return [row.name, row.issues, row.redemptions, given_away, row.orders_won, booked]


def _add_kinds(report: HtmlReport, result: ShopperResult) -> None:
    """Add what was given of each kind of coupon."""
    kinds: dict[str, list[Coupon]] = {}
    for coupon in result.catalogue:
        kinds.setdefault(offer_of(coupon), []).append(coupon)
    outcomes = result.live.outcomes
    best = next(one.outcomes for one in result.played if one.policy == "true_value")
    rows: list[list[str | float]] = []
    for kind, coupons in kinds.items():
        ids = {coupon.coupon_id for coupon in coupons}
        given = [issue for issue in outcomes.issues if issue.coupon_id in ids]
        used = sum(issue.issue_id in outcomes.redeemed for issue in given)
        margin = sum(outcomes.margins[issue.issue_id] for issue in given) / 100
        would = sum(issue.coupon_id in ids for issue in best.issues)
        learning = sum(one.is_explored for one in given)
        rows.append([kind, len(coupons), len(given), learning, used, round(margin, 2), would])
    headers = ["kind", "coupons", "given", "to learn", "used", f"margin, {CURRENCY}", "given by perfect knowledge"]
    report.table(headers, rows)
    if result.coupons:
        headers = [
            "as `stream-coupons results` reports it",
            "campaign",
            "given",
            "seen",
            "clicked",
            "used",
            "discounts",
        ]
        report.table(headers, list(map(_result_cells, result.coupons)))


def _result_cells(row: ResultRow) -> Sequence[str | float]:
    counts = (row.given, row.seen, row.clicked, row.used)
    return [row.coupon_id, row.campaign_id or "none", *counts, money(row.discount_minor, row.currency)]


def _add_redemption(report: HtmlReport, result: ShopperResult) -> None:
    outcomes, days = result.live.outcomes, result.world.days
    given = redemption.closed(outcomes, outcomes.starts_at + days * DAY_S)
    if not given:
        return
    fresh, later = ([one for one in given if one.is_first is which] for which in (True, False))
    report.section(
        "Why redeem rates change",
        f"Of the first coupons of a shopper, {_used(fresh)} were used, and {_used(later)} of later ones. So the rate "
        "moves towards that of later ones while fresh shoppers are used up.\n\n"
        f"A shopper gets at most {result.rules.max_issues_per_window} coupons in "
        f"{result.rules.issue_window_s / DAY_S:g} days. The table has the share of the coupons that went to fresh "
        "shoppers, and the share of the looks and carts that came from shoppers at that cap.",
    )
    by_day = [(day, [one for one in given if one.day == day]) for day in sorted({one.day for one in given})]
    rates = [(day + 1.0, rate_interval(sum(one.is_used for one in some), len(some))) for day, some in by_day]
    series = {
        OURS: [(day, rate.value) for day, rate in rates],
        NAMES["true_value"]: [(day + 1.0, redemption.share(some, "chance")) for day, some in by_day],
    }
    report.line_chart(
        "Redeem rate",
        series,
        Axis("day of issue"),
        Axis("share of the coupons used", "percent", from_zero=True),
        bands={OURS: [(day, rate.low, rate.high) for day, rate in rates]},
        note="With Wilson's 95 % intervals, beside the P(redeem) of the same coupons by perfect knowledge. Coupons "
        "still open at the end are left out.",
        highlight=OURS,
    )
    rows: list[list[str | float]] = []
    for days_of, some, at_cap in redemption.thirds(given, days, result.watch, outcomes.starts_at):
        shares = [*(redemption.share(some, name) for name in ("is_used", "chance", "is_first")), at_cap]
        rows.append([days_of, len(some), *(format_value(one, "percent") for one in shares)])
    report.table(["days", "coupons", "used", "by perfect knowledge", "to fresh shoppers", "at the cap"], rows)


def _used(given: Sequence[redemption.ClosedCoupon]) -> str:
    used, chance = (format_value(redemption.share(given, name), "percent") for name in ("is_used", "chance"))
    return f"{used} (by perfect knowledge {chance})"


def _add_story(report: HtmlReport, result: ShopperResult) -> None:
    events = [event for _, event in result.events]
    issue = story.clicked_and_used(result.live.outcomes, events)
    if issue is None:
        return
    report.section(
        f"One shopper: {issue.user_id}",
        "The first in the second half of the coupons who clicked on one and used it, of those given for their value "
        f"and not by chance. The reasons are those of stream-coupons explain {issue.issue_id}.",
    )
    decision = result.decisions.get(issue.issue_id)
    report.table(["when", "what happened"], story.timeline(issue, events, decision, result.rules, result.live.outcomes))


def _add_system(report: HtmlReport, result: ShopperResult) -> None:
    watch, decisions = result.watch, result.watch.decisions()
    report.section(
        "How it went",
        "Events went through Kafka to the workers, coupons came back through Kafka and moved the shoppers. Simulated "
        "time waits until every event is answered and every coupon is delivered: the figures do not depend on the "
        "machine. The same settings lead to the same figures.",
    )
    report.stats(
        [
            ("Looks and carts", f"{sum(decisions.values()):,.0f}", "each answered by a coupon, or none"),
            ("Examples learnt", f"{total(watch.latest, 'training_examples_total'):,.0f}", "from its own coupons"),
            ("Audit", "violated" if result.violations else "clean" if result.rows else "–", result.audit()),
        ]
    )
    report.table(["why shoppers got nothing", "looks and carts"], list(words.reasons(decisions).items()))
