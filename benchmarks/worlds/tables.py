"""Tables of the benchmark over worlds, for the terminal."""

from collections.abc import Sequence

from ..money_compared import Estimate
from ..money_tables import Rows, print_table, written
from .compared import Group, Week
from .runs import ENGINE, NONE

HEADERS = (
    "policy",
    "margin",
    "of true value (95 %)",
    "thirds",
    "coupons",
    "again",
    "whole shop",
    "none",
    "predicted / true by week",
    "rank corr.",
    "CPU s",
)


def show(groups: Sequence[Group]) -> None:
    """Print the tables of each world, then those over all worlds."""
    for group in groups:
        runs = f"{group.runs} run{'s' if group.runs > 1 else ''}"
        title = f"{group.name}, {runs}; the shop earns {group.margin_without:,.0f} without coupons"
        print_table(title, rows_of(group), ENGINE)
        if group.leads:
            print_table(
                f"{group.name}: the engine less other policies, paired by world and seed", rows_of_leads(group), ENGINE
            )


def rows_of(group: Group) -> Rows:
    """Return headers and cells: a row for each policy. Where no coupon pays, shares are of the shop's margin."""
    rows = [[NONE, "0", *[""] * (len(HEADERS) - 2)]]
    for policy, standing in group.policies.items():
        of_shop = Estimate(standing.margin / group.margin_without) if group.margin_without else None
        rows.append(
            [
                policy,
                f"{standing.margin:,.0f}",
                _percent(standing.share) if group.pays else _percent(of_shop, digits=2),
                " ".join(f"{third:.0%}" for third in standing.thirds) if group.pays else "",
                f"{standing.issues:,}",
                _ratio(standing.repeats),
                _ratio(standing.whole_shop),
                _ratio(standing.none_share),
                ", ".join(map(_week, standing.weeks)),
                "" if standing.rank_correlation is None else f"{standing.rank_correlation.mean:.2f}",
                f"{standing.cpu_s:.0f}",
            ]
        )
    headers = HEADERS if group.pays else tuple(each.replace("true value (95 %)", "the shop") for each in HEADERS)
    return headers, rows


def rows_of_leads(group: Group) -> Rows:
    """Return headers and cells: a row for each policy that the engine is compared with."""
    rows = [
        [other, written(lead.margin), _percent(lead.share) if group.pays else "", f"{lead.ahead} of {lead.of}"]
        for other, lead in group.leads.items()
    ]
    return ("than", "margin a run (95 %)", "points of true value (95 %)", "ahead in"), rows


def _percent(value: Estimate | None, digits: int = 0) -> str:
    if value is None:
        return ""
    mean = f"{value.mean:.{digits}%}"
    return mean if value.low is None or value.high is None else f"{mean} ({value.low:.0%} to {value.high:.0%})"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _week(week: Week) -> str:
    return "-" if week.predicted_minor is None else f"{week.predicted_minor:.0f}/{week.true_minor:.0f}"
