"""An explanation on a terminal."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.text import Text

from stream_coupons.cli.terminal import new_table, printable, utc
from stream_coupons.core.currencies import CENTS, money, units
from stream_coupons.core.reasons import NoCoupon, Passed
from stream_coupons.core.rules import ShopRules
from stream_coupons.ops.explain.candidate_verdicts import WORDS, Code, Score, Verdict
from stream_coupons.ops.explain.explanation import IssueExplanation, PassedOver, ShopperExplanation
from stream_coupons.ops.explain.explanation_words import BEST, EXPLORED, chances, charge, lack, worth
from stream_coupons.ops.explain.feature_text import FeatureText


def of_issue(explanation: IssueExplanation, shop: ShopRules) -> list[RenderableType]:
    """Return the reasons for this coupon, then those against the others, then the notes."""
    issue = explanation.issue
    name = f"{issue.coupon_id} {issue.title}".strip()
    lines: list[RenderableType] = [
        _title(f"Issue {issue.issue_id}: {name}, to shopper {issue.user_id} on {utc(issue.issued_at)}"),
        _line("how it was chosen", f"{EXPLORED if issue.is_explored else BEST} (propensity {issue.propensity:.4g})"),
        _line("probabilities", chances(issue.p_click, issue.p_redeem, issue.p_order)),
        _line("worth", worth(issue.value_minor, issue.price_minor, shop.currency(issue.domain))),
        _line("model", f"version {issue.model_version} of {issue.domain}"),
        *_told(explanation.reasons),
    ]
    if explanation.others:
        lines += [_title("Why not the others"), *_passed_over(explanation.others, shop.currency(issue.domain))]
    return lines + [_note(note) for note in explanation.notes]


def of_shopper(explanation: ShopperExplanation, shop: ShopRules) -> list[RenderableType]:
    """Return the coupon that the shopper would get, then every coupon, the best first."""
    at, objection = explanation.at, explanation.objection
    lines: list[RenderableType] = [_title(f"Shopper {explanation.user_id} at {utc(at)}")]
    given = [verdict for verdict in explanation.coupons if verdict.reason is None]
    if objection is not None:
        lines.append(_line("nothing", f"{objection}: {WORDS[objection]}"))
    elif not given:
        lines.append(_line("nothing", "no coupon can be given, see why below"))
    for domain in explanation.model_versions:
        lines += _gets([verdict for verdict in given if verdict.domain == domain])
    lines += _table(explanation.coupons, shop)
    models = ", ".join(f"{domain} {version}" for domain, version in explanation.model_versions.items())
    lines.append(_line("models", models or "none: the catalogue is empty"))
    lines.append(_note("what the shopper looks at just then, and the context of the event, would count as well"))
    if explanation.last_event_at > at:
        lines.append(_note(f"the state is that of now: it knows events up to {utc(explanation.last_event_at)}"))
    return lines


def _gets(given: list[Verdict]) -> list[Text]:
    """Return the lines of the coupon that a domain gives; under the strategy "random" it is any of `given`."""
    if len(given) > 1:
        return [_line("gets", f"one of {len(given)}, drawn by chance")]
    lines = []
    for verdict in given:
        name = f"{verdict.coupon_id} {verdict.title}".strip()
        lines.append(_line("gets", name))
        if verdict.score is not None:
            above = "" if verdict.score.rank == 1 else "; what is ranked above it is sold out"
            chance = f" (propensity {verdict.score.propensity:.4g})"
            lines += [
                _line("how it is chosen", BEST + above + chance),
                *_told(verdict.score.reasons),
            ]
    return lines


def _title(text: str) -> Text:
    return Text(printable(text), style="bold")


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name}: ", "cyan"), printable(text))


def _note(text: str) -> Text:
    return Text.assemble(("note: ", "yellow"), printable(text))


def _told(reasons: Iterable[FeatureText]) -> list[Text]:
    return [Text(printable(f"  - {reason.sentence}")) for reason in reasons]


def _passed_over(others: Iterable[PassedOver], currency: str | None) -> list[RenderableType]:
    table = new_table("coupon", "why not", figures=("worth", "price"))
    for one in others:
        worth = "" if one.value_minor is None else units(one.value_minor, currency, sign="+", more=1)
        price = units(one.price_minor, currency, more=1) if one.price_minor else ""
        table.add_row(printable(one.coupon_id), one.reason, worth, price)
    codes = dict.fromkeys(one.reason for one in others)
    columns = f"worth in {currency or CENTS} against giving none; price: what budgets charge"
    return [table, *(_line(code, WORDS[code]) for code in codes), Text(columns, style="dim")]


def _table(verdicts: Iterable[Verdict], shop: ShopRules) -> list[RenderableType]:
    """Coupons, best first, and what the codes among them mean."""
    names, figures = ("rank", "coupon", "why not"), ("redeem", "order", "worth", "doubt", "price", "own", "similar")
    table = new_table(*names, figures=figures)
    said: dict[Code, None] = {}
    details: list[Text] = []
    for verdict in sorted(verdicts, key=_order):
        if verdict.reason is not None:
            said[verdict.reason] = None
        currency = shop.currency(verdict.domain)
        rank, *numbers = _scored(verdict.score, currency)
        scores = _number(verdict.content), _number(verdict.neighbours)
        why = f"{verdict.reason or ''} ({verdict.by})" if verdict.by else verdict.reason or ""
        if verdict.reason in (NoCoupon.SOLD_OUT, NoCoupon.NEW_SHOPPERS) and verdict.lacks is not None:
            why = f"{verdict.reason} ({verdict.lacks.shortage})"
            details.append(_line(verdict.lacks.account_id, lack(verdict.lacks, currency)))
        if verdict.clause is not None:
            details.append(_line(verdict.coupon_id, f"not true: {verdict.clause}"))
        if verdict.reason is Passed.PRICED_OUT and verdict.score is not None:
            details.append(_line(verdict.coupon_id, charge(verdict.score, currency)))
        cells = (rank, verdict.coupon_id, why, *numbers, *scores)
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    columns = (
        "worth against giving none, in cents unless a currency is named; doubt: its standard deviation; price: what "
        "budgets charge; own and similar: "
        "R(u, i) by own interests, by those of similar shoppers"
    )
    return [table, *(_line(code, WORDS[code]) for code in said), *details, Text(columns, style="dim")]


def _order(verdict: Verdict) -> tuple[str, float, str]:
    rank = float("inf") if verdict.score is None else verdict.score.rank
    return verdict.domain, rank, verdict.coupon_id


def _scored(score: Score | None, currency: str | None) -> tuple[str, ...]:
    if score is None:
        return ("",) * 6
    price = money(score.price_minor, currency, more=1) if score.price_minor else ""
    worth, doubt = money(score.value_minor, currency, sign="+", more=1), money(score.spread_minor, currency, more=1)
    return str(score.rank), f"{score.p_redeem:.1%}", f"{score.p_order:.1%}", worth, doubt, price


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
