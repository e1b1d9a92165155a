"""Tables of what policies earned, for the terminal and the documentation."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD

from stream_coupons.cli.terminal import new_table, stdout

from .money_compared import OURS, THIRDS, Comparison, Estimate
from .money_runs import NONE
from .pages import begin_of, markdown_table, with_figures


def begin(history: int) -> str:
    """Return the mark at which the figures with a history of so many days begin."""
    return begin_of(f"python -m benchmarks.money{f' --history {history}' if history else ''} --write")


Rows = tuple[tuple[str, ...], list[list[str]]]


def show(comparison: Comparison) -> None:
    """Print a table of the policies, and a table of the product against each of the others."""
    if not comparison.seeds:
        stdout().print(f"{comparison.configuration.name}: no seed was played by all policies.")
        return
    seeds = ", ".join(map(str, comparison.seeds))
    title = f"Expected incremental margin: {comparison.configuration.name}, seeds {seeds}"
    tables = {
        title: rows_of(comparison),
        "Ratios of the means": rows_of_ratios(comparison),
        "By how much the product earns more, paired by seed": rows_ahead(comparison),
    }
    if comparison.since_drift:
        tables["Margin over that of true value, by days since all tastes changed"] = rows_since_drift(comparison)
    for heading, (headers, rows) in tables.items():
        if rows:
            print_table(heading, (headers, rows), OURS)


def print_table(title: str, rows: Rows, ours: str) -> None:
    """Print headers and cells as a table, with the row of the product in bold."""
    headers, cells = rows
    style = {"title": title, "title_justify": "left", "box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1)}
    table = new_table(headers[0], figures=headers[1:], no_wrap=True, **style)
    for row in cells:
        table.add_row(*row, style="bold" if row[0] == ours else "")
    stdout().print(table)


def rows_of(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for each policy."""
    headers = ("policy", "margin (95 %)", *THIRDS, "worst seed", "coupons", "redeemed", "CPU s")
    rows = []
    for policy, earned in comparison.policies.items():
        cells = [policy, written(earned.margin_interval), *map(_whole, earned.thirds)]
        cells.append(f"{_whole(earned.by_seed[earned.worst_seed])} ({earned.worst_seed})" if policy != NONE else "0")
        redeemed = "" if earned.redeem_rate is None else f"{earned.redeem_rate:.1%}"
        rows.append([*cells, _whole(earned.issues), redeemed, _whole(earned.cpu_s)])
    return headers, rows


def rows_of_ratios(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for each policy that can be compared with true value, the bound or chance."""
    headers = ("policy", "of true value: thirds", "worst seed", "of the bound: thirds", "thirds below random")
    rows = []
    for policy, earned in comparison.policies.items():
        least = min(earned.of_true_value_by_seed.items(), key=lambda pair: pair[1], default=None)
        below = earned.thirds_below_random
        cells = [
            _by_third(earned.of_true_value, earned.of_true_value_by_third),
            "" if least is None else f"{least[1]:.0%} ({least[0]})",
            _by_third(earned.of_bound, earned.of_bound_by_third),
            "" if below is None else f"{below} of {len(THIRDS) * len(comparison.seeds)}",
        ]
        if policy != NONE and any(cells):
            rows.append([policy, *cells])
    return headers, rows


def _by_third(whole: float | None, thirds: Sequence[float]) -> str:
    return "" if whole is None else f"{whole:.0%}: {', '.join(f'{third:.0%}' for third in thirds)}"


def rows_ahead(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for each policy that the product is compared with."""
    rows = [
        [policy, written(earned.ahead), *map(written, earned.ahead_by_third)]
        for policy, earned in comparison.policies.items()
        if earned.ahead is not None
    ]
    return ("than", "whole run", *THIRDS), rows


def rows_since_drift(comparison: Comparison) -> Rows:
    """Return headers and cells: a row for some days each."""
    others = list(comparison.since_drift[0].of_true_value)
    rows = []
    for span in comparison.since_drift:
        strange = "" if span.strange_interests is None else f"{span.strange_interests:.1%}"
        cells = [f"{span.of_true_value[policy]:.0%}" for policy in others]
        rows.append([f"{span.first} to {span.last}", *cells, strange])
    return ("days", *others, "strange interests"), rows


def written(value: Estimate) -> str:
    """Return an estimate as a person writes it.

    >>> written(Estimate(1234.4, -20.0, 2500.0)), written(Estimate(3.0))
    ('1,234 (-20 to 2,500)', '3')
    """
    mean = _whole(value.mean)
    return mean if value.low is None or value.high is None else f"{mean} ({_whole(value.low)} to {_whole(value.high)})"


def _whole(value: float) -> str:
    return f"{round(value):,}"


def page_with(page: str, comparisons: Sequence[Comparison]) -> str:
    """Return the page in Markdown with the tables of these comparisons, of one history, between their two marks."""
    parts = []
    for comparison in comparisons:
        seeds = ", ".join(map(str, comparison.seeds))
        parts.append(f"### {comparison.configuration.name.capitalize()}\n\nSeeds {seeds}.")
        parts.append(markdown_table(*rows_of(comparison)))
        if (ratios := rows_of_ratios(comparison))[1]:
            parts += ["Ratios of the means, of the run and by thirds:", markdown_table(*ratios)]
        if (ahead := rows_ahead(comparison))[1]:
            parts += ["By how much the product earns more, paired by seed:", markdown_table(*ahead)]
        if comparison.since_drift:
            told = "Margin over that of true value, by days since all tastes changed:"
            parts += [told, markdown_table(*rows_since_drift(comparison))]
    return with_figures(page, begin(comparisons[0].configuration.history), parts)
