"""Tables of the benchmark over worlds, for the terminal."""

from collections.abc import Sequence

from ..money_compared import Estimate
from ..money_tables import Rows, print_table, written
from .compared import Group
from .runs import ENGINE, NONE

HEADERS = (
    "policy",
    "margin",
    "of true value (95 %)",
    "second half (95 %)",
    "thirds",
    "coupons",
    "again",
    "whole shop",
    "none",
    "refused",
    "CPU s",
)
HEADERS_OF_COUPONS = (
    "policy",
    "predicted / true",
    "slope",
    "rank corr.",
    "lost by coupons below 0",
    "single values below 0",
    "wrong in sign (by 4 SE), of",
    "withheld",
    "drawn",
)


def show(groups: Sequence[Group]) -> None:
    """Print the tables of each world, then those over all worlds."""
    for group in groups:
        runs = f"{group.runs} run{'s' if group.runs > 1 else ''}"
        name = f"{group.name}, {group.shoppers:,} shoppers"
        title = f"{name}, {runs}; the shop earns {group.margin_without:,.0f} without coupons"
        print_table(title, rows_of(group), ENGINE)
        print_table(f"{name}: values by coupon in the second half", rows_of_coupons(group), ENGINE)
        if group.leads:
            title = f"{name}: the engine less other policies, paired by world and seed"
            print_table(title, rows_of_leads(group), ENGINE)
        if deciles := group.policies[ENGINE].orders if ENGINE in group.policies else []:
            rows = [[str(n), *(f"{number:.3f}" for number in decile)] for n, decile in enumerate(deciles, 1)]
            headers = ("decile", "predicted", "seen", "standard error")
            print_table(f"{name}: P(order without), withheld choices", (headers, rows), "")


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
                _percent(standing.second_half) if group.pays else "",
                " ".join(f"{third:.0%}" for third in standing.thirds) if group.pays else "",
                f"{standing.issues:,.0f}",
                _ratio(standing.repeats),
                _ratio(standing.whole_shop),
                _ratio(standing.none_share),
                "" if standing.refused_minor is None else f"{standing.refused_minor:.0f}",
                f"{standing.cpu_s:.0f}",
            ]
        )
    headers = HEADERS if group.pays else tuple(each.replace("true value (95 %)", "the shop") for each in HEADERS)
    return headers, rows


def rows_of_coupons(group: Group) -> Rows:
    """Return headers and cells: how right the values of coupons are, a row for each policy."""
    rows = []
    for policy, standing in group.policies.items():
        of = standing.coupons
        numbers = ["" if each is None else f"{each:.2f}" for each in (of.level, of.slope, of.rank_correlation)]
        wrong = f"{of.wrong} ({of.very_wrong}) of {of.many}"
        chance = _ratio(standing.withheld), _ratio(standing.explored)
        rows.append([policy, *numbers, _ratio(of.lost), _ratio(of.below_zero), wrong, *chance])
    return HEADERS_OF_COUPONS, rows


def rows_of_leads(group: Group) -> Rows:
    """Return headers and cells: a row for each policy that the engine is compared with."""
    rows = []
    for other, lead in group.leads.items():
        points = [_percent(each) if group.pays else "" for each in (lead.share, lead.second_half)]
        rows.append([other, written(lead.margin), *points, f"{lead.ahead} of {lead.of}"])
    return ("than", "margin a run (95 %)", "points of true value (95 %)", "second half", "ahead in"), rows


def _percent(value: Estimate | None, digits: int = 0) -> str:
    if value is None:
        return ""
    mean = f"{value.mean:.{digits}%}"
    return mean if value.low is None or value.high is None else f"{mean} ({value.low:.0%} to {value.high:.0%})"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
