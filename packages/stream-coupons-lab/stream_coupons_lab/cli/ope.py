"""`ope`: what a policy would have earned on decisions that another one made and logged."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_coupons.cli import terminal
from stream_coupons.cli.options import BootstrapOption, ConfigOption, JsonOption, settings_from
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import MAX_WINDOW_S
from stream_coupons_lab.cli import ope_tables
from stream_coupons_lab.cli.foreign_logs import (
    MappingOption,
    doubts,
    feed_all,
    read_log,
    report_refused,
)
from stream_coupons_lab.cli.output import ReportOption, print_text_table, replaced
from stream_coupons_lab.datasets.foreign import WINDOW_S
from stream_coupons_lab.datasets.table_files import is_table, item
from stream_coupons_lab.ope.rewards import Reward
from stream_coupons_lab.reports import tables

if TYPE_CHECKING:  # imported where they are used: no help needs them
    from stream_coupons_lab.ope.valuation import ValuationReport

OptionalLog = Annotated[
    Path | None,
    typer.Argument(
        help="The log: JSON lines, or - for them on standard input; a .csv or .parquet with --mapping. Without one, "
        "our own decisions at the broker.",
        allow_dash=True,
    ),
]


def ope(  # noqa: PLR0913 - the options of a command
    log: OptionalLog = None,
    mapping: MappingOption = None,
    reward: Annotated[Reward, typer.Option(help="What a decision brings.")] = Reward.CLICK,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Policy to value, may be given several times: greedy[:MIN], epsilon[:RATIO], average, random, logged, "
            "always:ARM."
        ),
    ] = None,
    skip: Annotated[
        float, typer.Option(help="Share of the decisions, from the first on, to learn from but not to value.", max=0.99)
    ] = 0.0,
    report: ReportOption = None,
    window: Annotated[
        float | None,
        typer.Option(
            help="Seconds after an issue in which a purchase counts, where the log does not say; 7 days. Of our own "
            "decisions: in which orders count; as long as a coupon can be used.",
            min=1,
            max=MAX_WINDOW_S,
        ),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Of our own decisions; the one that has most of them.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
) -> None:
    """Value our policy on a log of another one: what would it have earned?

    Without LOG, value other policies on our own decisions.

    The log is learnt from in order of time. Before each issue every arm it
    names is scored by the model as it stood then, and our policy is valued on
    the logged outcomes by IPS, SNIPS and the doubly robust estimator, beside
    the logging policy, random, and always taking the same arm. Intervals hold
    95 %; shoppers are independent, their decisions are not.

    greedy takes the best arm, epsilon draws a good one now and then, as the
    live policy does (policy.exploration_ratio of the time one of the best
    policy.explored_candidates). Ranked is by P(click),
    P(purchase), or for margin by the live policy's value of each coupon.
    average is one ranking for all; always:ARM chooses ARM wherever it
    could be chosen, else none. Where the log sometimes gave none, the
    Qini coefficient says whether our model finds those whom a coupon moves.

    Issues need their arms and the propensity of the one that was chosen.
    Those without, or whose window is still open at the end of the log, are
    left out.

    Without LOG the decisions, orders, feedback and coupons are read from the
    broker; a LOG of these topics, as `tail --recording` and `replay --all`
    write them, does as well. Every decision is there, given or not, with its
    coupons and what was sold out. Valued is the margin of all that the
    shopper orders within --window, less discounts.

    Examples: stream-coupons ope examples/travel/log.jsonl --reward margin
              stream-coupons ope examples/ecommerce/log.jsonl --policy logged \\
                --policy greedy --policy always:tea-25-off
              stream-coupons ope log.jsonl --reward purchase --skip 0.5
              stream-coupons ope log.jsonl --reward margin --json
              stream-coupons ope sent.csv --mapping sent.toml \\
                --reward purchase --report sent.html
              stream-coupons ope --bootstrap localhost:9092
              stream-coupons ope own.jsonl --policy greedy:25 --policy random
    """
    from stream_coupons.cli import own_records
    from stream_coupons_lab.cli import ope_own
    from stream_coupons_lab.ope import policies, valuation
    from stream_coupons_lab.reports import ope_report

    settings = settings_from(config, bootstrap)
    if not 0 <= skip < 1:
        raise typer.BadParameter("expected a share from 0 up to 0.99", param_hint="--skip")
    if log is None or (not is_table(log) and own_records.is_own(log)):
        others = {"--mapping": mapping, "--skip": skip}
        if given := [name for name, value in others.items() if value]:
            raise BadConfig(f"{', '.join(given)}: is for logs of other systems, not for our own decisions")
        ope_own.ope_own(log, settings, policy or (), window_s=window, domain=domain, report=report, json=json)
    if domain is not None:
        raise BadConfig("--domain: is for our own decisions, not for logs of other systems")
    with replaced(report) as page_sink:
        read = read_log(log, window or WINDOW_S, mapping)
        asked = tuple(policies.parse(text, read.coupon_of) for text in policy or ())
        feed = partial(feed_all, what="scoring every arm")
        found = valuation.value_log(read, settings, valuation.Question(reward, asked, skip), feed)
        found.warnings[:0] = doubts(read)
        if page_sink is not None:
            page_sink.write(ope_report.page(log.name, found).html().encode())
    report_refused(read, log)
    terminal.show(found, _print, as_json=json, enc_hook=item)
    raise typer.Exit(1 if read.refusals.count else 0)


def _print(found: ValuationReport) -> None:
    terminal.say(
        f"{found.reward.value} of {found.decisions:,} decisions about {found.shoppers:,} shoppers, {found.arms:,} arms"
    )
    ope_tables.print_values(found)
    if found.effects:
        unit, title = found.reward.unit(found.currency), f"uplift over none, {found.reward.in_unit(found.currency)}"
        print_text_table(tables.effects(found.effects, unit), title=title)
    ope_tables.print_notes(found)
