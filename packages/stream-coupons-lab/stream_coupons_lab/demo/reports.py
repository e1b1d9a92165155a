"""The demonstration's report: one self-contained page, and the summary on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stream_coupons.ops.audit.findings import Violation
from stream_coupons_lab.demo import words
from stream_coupons_lab.demo.money import ABOUT, NAMES, NOTHING, Earned, money, span, verdict, whole
from stream_coupons_lab.demo.outcomes import Daily, Played
from stream_coupons_lab.demo.run import ShopperResult
from stream_coupons_lab.demo.watch import Watch, total
from stream_coupons_lab.reports.report import Axis, HtmlReport
from stream_coupons_lab.simulation.behaviour import DAY_S

SMOOTHING_DAYS = 3
HOW = (
    "The shoppers are simulated, so it is known what each coupon is worth at the moment it is handed over: the margin "
    "of orders that would not have been placed without it, less its discount, and less the discounts on orders that "
    "would have been placed anyway. The expected margin is the sum of that over all coupons given, and varies far less "
    "than what happened to be booked. Intervals are those of 95 %: what other shoppers of the same kind would have "
    "brought. A redemption counts for nothing beyond its margin."
)


def smoothed(daily: Sequence[Daily]) -> list[tuple[float, float]]:
    """Return the redeem rate by day, over the last `SMOOTHING_DAYS` days."""
    points = []
    for index in range(len(daily)):
        window = daily[max(index - SMOOTHING_DAYS + 1, 0) : index + 1]
        issues = sum(row[1] for row in window)
        points.append((float(daily[index][0] + 1), sum(row[2] for row in window) / max(issues, 1)))
    return points


def given_away(live: Played, without_coupon: int, shoppers: int) -> str:
    """Return what the live system did, in the words of a shop."""
    outcomes = live.outcomes
    return (
        f"{len(outcomes.issues):,} coupons were given and {len(outcomes.redeemed):,} redeemed: "
        f"{money(live.discount_minor)} given away in discounts, {live.persuaded:,} orders won that would not have been "
        f"placed, {money(live.incremental_margin_minor)} made after discounts. "
        f"{without_coupon:,} of {shoppers:,} shoppers got no coupon."
    )


def print_shoppers(console: Console, result: ShopperResult) -> None:
    """Print the summary."""
    live, shoppers = result.live, result.world.shoppers
    if result.rows:
        title = f"{shoppers:,} simulated shoppers, {result.world.days} days, seed {result.world.seed}"
        table = Table("policy", title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), title_justify="left")
        for header in ("coupons", "discounts", "orders won", "margin", "95 % interval"):
            table.add_column(header, justify="right", no_wrap=True)
        table.add_row(NOTHING, "0", "0.00", "0", "0.00", "")
        for row in result.rows:
            table.add_row(*_cells(row), style="bold" if row.policy == "learned" else "")
        console.print(table)
        console.print(verdict(result.rows), highlight=False)
    console.print(given_away(live, result.without_coupon, shoppers), highlight=False)
    console.print("Why shoppers got nothing for what they did:", highlight=False)
    for why, count in list(words.reasons(result.decisions).items())[:5]:
        console.print(f"  {count:>8,}  {why}", highlight=False)
    if result.is_whole:
        console.print(f"audit of what was issued: {_audit(result.violations)}", highlight=False)


def _cells(row: Earned) -> list[str]:
    return [
        row.name,
        f"{row.issues:,}",
        money(row.discount_minor),
        f"{row.orders_won:,}",
        money(row.expected.value),
        f"{whole(row.expected.low)} to {whole(row.expected.high)}",
    ]


def _audit(violations: Sequence[Violation]) -> str:
    if not violations:
        return "clean: one issue per trigger, within stock, budget and caps, no lease beyond its limit"
    return f"{len(violations)} violations, the first: {violations[0]}"


def add_shoppers(report: HtmlReport, result: ShopperResult) -> None:
    """Add the chapter on the simulated shoppers."""
    live, world, watch = result.live, result.world, result.watch
    said = verdict(result.rows) if result.rows else "The demonstration was ended before its time: nothing is compared."
    report.section("Did it pay?", f"{said}\n\n{given_away(live, result.without_coupon, world.shoppers)}\n\n{HOW}")
    issued = max(len(live.outcomes.issues), 1)
    report.stats(
        [
            ("Expected margin", money(sum(live.outcomes.margins.values())), "after discounts, beyond no coupons"),
            ("Given away", money(live.discount_minor), "in discounts"),
            ("Orders won", f"{live.persuaded:,}", f"of {len(live.outcomes.redeemed):,} on which a coupon was used"),
            ("Redeem rate", f"{len(live.outcomes.redeemed) / issued:.1%}", f"of {issued:,} coupons"),
        ]
    )
    if result.rows:
        _add_comparison(report, result)
    _add_reasons(report, result)
    _add_system(report, result, watch)


def _add_comparison(report: HtmlReport, result: ShopperResult) -> None:
    points = [(NOTHING, 0.0, 0.0, 0.0)] + [
        (row.name, row.expected.value, row.expected.low, row.expected.high) for row in result.rows
    ]
    report.point_chart(
        "Expected incremental margin",
        points,
        Axis("", "money"),
        note=f"{result.world.shoppers:,} shoppers, {result.world.days} days. The same shoppers under every policy, the "
        "same caps, stocks and budgets, and the same control group.",
        highlight=NAMES["learned"],
    )
    rows: list[list[str | float]] = [[NOTHING, 0, 0, 0.0, 0, 0.0]]
    rows += [
        [
            row.name,
            row.issues,
            row.redemptions,
            round(row.discount_minor / 100, 2),
            row.orders_won,
            round(row.booked_minor / 100, 2),
        ]
        for row in result.rows
    ]
    report.table(["who gets which coupon", "coupons", "redeemed", "given away", "orders won", "booked margin"], rows)
    others = [row for row in result.rows if row.policy != "learned"]
    report.table(
        ["ours is ahead of", "by", "95 % interval"],
        [[row.name, round(row.behind.value / 100, 2), span(row.behind)] for row in others],
    )
    report.table(
        ["policy", "what it is"], [[row.name, ABOUT[row.policy]] for row in result.rows if row.policy in ABOUT]
    )
    day = Axis("simulated day", from_zero=True)
    margins = {NAMES[one.policy]: [(0.0, 0.0), *one.margin_by_day] for one in result.played}
    report.line_chart("Expected margin so far", margins, day, Axis("", "money"))
    rates = {NAMES[one.policy]: smoothed(one.outcomes.daily()) for one in result.played}
    note = f"Of the coupons of the last {SMOOTHING_DAYS} days."
    report.line_chart("Redeem rate", rates, day, Axis("", "percent", from_zero=True), note=note)


def _add_reasons(report: HtmlReport, result: ShopperResult) -> None:
    found = words.reasons(result.decisions)
    if found:
        report.bar_chart(
            "Why shoppers got nothing for what they did",
            dict(found.items()),
            Axis("looks and carts"),
            note="Each look at a product and each change of a cart is a reason to decide; few lead to a coupon.",
        )


def _add_system(report: HtmlReport, result: ShopperResult, watch: Watch) -> None:
    report.section(
        "How it went",
        "Events went through Kafka to the workers, coupons came back through Kafka and moved the shoppers. Simulated "
        "time waits until every event is answered and every coupon is delivered: the figures do not depend on the "
        "machine. The same settings lead to the same figures.",
    )
    day, start = Axis("simulated day", from_zero=True), result.live.outcomes.starts_at

    def days(name: str, head: str = "") -> list[tuple[float, float]]:
        labels = {"head": head} if head else {}
        return [((at - start) / DAY_S, value) for at, value in watch.series(name, **labels) if value]

    report.stats(
        [
            ("Events in", f"{watch.counts.published:,}", "browse, cart, order, feedback"),
            ("Decisions", f"{sum(result.decisions.values()):,.0f}", "of the workers"),
            ("Examples learnt", f"{total(watch.latest, 'training_examples_total'):,.0f}", "from its own coupons"),
            ("Audit", "clean" if not result.violations else "violated", _audit(result.violations)),
        ]
    )
    losses = {
        "P(redeem)": days("model_log_loss", "redeem"),
        "always the base rate": days("model_base_log_loss", "redeem"),
    }
    note = "Of the coupons that the policy chose: the better it chooses, the harder to rank they are."
    report.line_chart("Log loss of P(redeem) since the start", _known(losses), day, Axis(""), note=note)
    aucs = {f"P({head})": days("model_roc_auc_ratio", head) for head in ("redeem", "click")}
    report.line_chart("ROC AUC since the start", _known(aucs), day, Axis(""), note=note)
    budget = days("budget_remaining_minor")
    report.line_chart(
        "Budgets left", _known({"all coupons with a budget": budget}), day, Axis("", "money", from_zero=True)
    )


def _known(series: dict[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    return {name: points for name, points in series.items() if points}


def write(report: HtmlReport, path: Path) -> Path:
    """Write the page, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(path)
    return path
