"""The demonstration's result: the summary on the terminal, and one self-contained page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stream_coupons.ops.audit.findings import Violation
from stream_coupons.ops.results import ResultRow
from stream_coupons_lab.demo import words
from stream_coupons_lab.demo.money import ABOUT, NAMES, NOTHING, Earned, money, verdict, whole
from stream_coupons_lab.demo.outcomes import Played
from stream_coupons_lab.demo.watch import Watch, total
from stream_coupons_lab.reports.report import Axis, HtmlReport
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import WorldSettings

HOW = (
    "The shoppers are simulated, so it is known what each coupon is worth at the moment it is handed over: the margin "
    "of orders that would not have been placed without it, less its discount, and less the discounts on orders that "
    "would have been placed anyway. The expected margin is the sum of that over all coupons given, and varies far less "
    "than what happened to be booked. Intervals are those of 95 %: what other shoppers of the same kind would have "
    "brought. A redemption counts for nothing beyond its margin."
)


@dataclass(frozen=True, slots=True)
class ShopperResult:
    """Results of the demonstration.

    Attributes
    ----------
    live : Played
        The live system's results.
    played, rows : list
        Results of all policies, in order of display; empty if the live system did not play all days.
    violations : list of Violation
        Findings of the audit.
    coupons : list of ResultRow
        Results of each coupon as workers report them; empty before the end.
    """

    world: WorldSettings
    live: Played
    watch: Watch
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
            f"{len(issues):,} coupons were given and {done.redemptions:,} redeemed: {money(done.discount_minor)} given "
            f"away in discounts, {done.persuaded:,} orders won that would not have been placed, "
            f"{money(done.incremental_margin_minor)} made after discounts. "
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
    title = f"{world.shoppers:,} simulated shoppers, {world.days} days, seed {world.seed}"
    table = Table("policy", title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), title_justify="left")
    for header in ("coupons", "discounts", "orders won", "margin", "95 % interval"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_row(NOTHING, "0", "0.00", "0", "0.00", "")
    for row in result.rows:
        interval = f"{whole(row.expected.low)} to {whole(row.expected.high)}"
        cells = f"{row.issues:,}", money(row.discount_minor), f"{row.orders_won:,}", money(row.expected.value), interval
        table.add_row(row.name, *cells, style="bold" if row.policy == "learned" else "")
    console.print(table)
    console.print(result.verdict(), result.given_away(), sep="\n", highlight=False)
    console.print("Why shoppers got nothing for what they did:", highlight=False)
    for why, count in list(words.reasons(result.watch.decisions()).items())[:5]:
        console.print(f"  {count:>8,}  {why}", highlight=False)
    console.print(f"audit of what was issued: {result.audit()}", highlight=False)


def write(result: ShopperResult, path: Path) -> None:
    """Write the page, making its folder."""
    report = HtmlReport("stream_coupons", "What the demonstration did, and what its coupons earned")
    live = result.live
    report.section("Did it pay?", "\n\n".join((result.verdict(), result.given_away(), HOW)))
    done, issued = live.statistics, len(live.outcomes.issues)
    report.stats(
        [
            ("Expected margin", money(sum(live.outcomes.margins.values())), "after discounts, beyond no coupons"),
            ("Given away", money(done.discount_minor), "in discounts"),
            ("Orders won", f"{done.persuaded:,}", f"of {done.redemptions:,} on which a coupon was used"),
            ("Redeem rate", f"{done.redemptions / max(issued, 1):.1%}", f"of {issued:,} coupons"),
        ]
    )
    if result.rows:
        _add_comparison(report, result)
    _add_system(report, result)
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(path)


def _add_comparison(report: HtmlReport, result: ShopperResult) -> None:
    report.point_chart(
        "Expected incremental margin",
        [(NOTHING, 0.0, 0.0, 0.0)]
        + [(row.name, row.expected.value, row.expected.low, row.expected.high) for row in result.rows],
        Axis("", "money"),
        note=f"{result.world.shoppers:,} shoppers, {result.world.days} days. The same shoppers under every policy, the "
        "same caps, stocks and budgets, and the same control group.",
        highlight=NAMES["learned"],
    )
    report.table(
        ["who gets which coupon", "coupons", "redeemed", "given away", "orders won", "booked margin"],
        [[NOTHING, 0, 0, 0.0, 0, 0.0], *map(_cells, result.rows)],
    )
    report.table(["policy", "what it is"], [[row.name, ABOUT[row.policy]] for row in result.rows])
    margins = {NAMES[one.policy]: [(0.0, 0.0), *one.margin_by_day] for one in result.played}
    day = Axis("simulated day", from_zero=True)
    report.line_chart("Expected margin so far", margins, day, Axis("", "money"))


def _cells(row: Earned) -> Sequence[str | float]:
    money_of = (round(minor / 100, 2) for minor in (row.discount_minor, row.booked_minor))
    given_away, booked = money_of
    return [row.name, row.issues, row.redemptions, given_away, row.orders_won, booked]


def _add_system(report: HtmlReport, result: ShopperResult) -> None:
    watch, start = result.watch, result.live.outcomes.starts_at
    decisions = watch.decisions()
    report.section(
        "How it went",
        "Events went through Kafka to the workers, coupons came back through Kafka and moved the shoppers. Simulated "
        "time waits until every event is answered and every coupon is delivered: the figures do not depend on the "
        "machine. The same settings lead to the same figures.",
    )
    report.stats(
        [
            ("Decisions", f"{sum(decisions.values()):,.0f}", "on looks and carts"),
            ("Examples learnt", f"{total(watch.latest, 'training_examples_total'):,.0f}", "from its own coupons"),
            ("Audit", "violated" if result.violations else "clean" if result.rows else "–", result.audit()),
        ]
    )
    if result.coupons:
        report.table(
            ["coupon", "given", "seen", "clicked", "used", "given away"],
            [
                [one.coupon_id, one.given, one.seen, one.clicked, one.used, round(one.discount_minor / 100, 2)]
                for one in result.coupons
            ],
        )
    report.table(["why shoppers got nothing", "looks and carts"], list(words.reasons(decisions).items()))
    report.line_chart(
        "ROC AUC since the start",
        {
            f"P({head})": [((at - start) / DAY_S, auc) for at, auc in watch.quality(head)]
            for head in ("redeem", "click")
        },
        Axis("simulated day", from_zero=True),
        note="Of the coupons that the policy chose: the better it chooses, the harder to rank they are.",
    )
