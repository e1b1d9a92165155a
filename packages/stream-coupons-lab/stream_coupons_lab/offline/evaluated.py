"""The results of `evaluate` on a log: metrics by head and part, effects of arms, and baselines beside ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.rules import PolicyRules
from stream_coupons_lab.datasets.foreign import ForeignLog
from stream_coupons_lab.offline import arm_effects, baselines
from stream_coupons_lab.offline.arm_effects import ArmEffect
from stream_coupons_lab.offline.baselines import Beside
from stream_coupons_lab.offline.logged_decisions import decisions_of
from stream_coupons_lab.offline.progressive_run import ProgressiveRun
from stream_coupons_lab.offline.quality import HeadMetrics, LabelledIssues, Slice, judged, quality
from stream_coupons_lab.offline.scored import Scored
from stream_coupons_lab.offline.segments import by_coupon, by_segment
from stream_coupons_lab.ope import valuation
from stream_coupons_lab.ope.rewards import Reward, rewards


@dataclass(frozen=True, repr=False)
class Evaluated:
    """Findings of a run over a log.

    Attributes
    ----------
    scored : list of Scored
        The issues in order of time.
    effects : list of ArmEffect
        Of purchases, or of clicks if there is no purchase; empty unless arms were scored and some issues gave none.
    effects_of : str
        The reward that the effects are of.
    doubts : list of str
        What makes the effects doubtful.
    baselines : list of Beside
        Empty unless they were asked for.
    """

    log: ForeignLog
    running: ProgressiveRun
    scored: list[Scored]
    series: list[LabelledIssues]
    qualities: list[HeadMetrics]
    slices: list[Slice]
    effects: list[ArmEffect] = field(default_factory=list)
    effects_of: str = ""
    doubts: list[str] = field(default_factory=list)
    baselines: list[Beside] = field(default_factory=list)

    @property
    def labelled(self) -> int:
        """Number of issues whose label is known."""
        return sum(one.labelled_at is not None for one in self.scored)

    def conclusions(self) -> list[str]:
        """Return sentences on each head, beside the best of the base rate and the baselines."""
        found = []
        for head in self.qualities:
            others = [one for one in self.baselines if one.head == head.head and one.is_other]
            best = min(others, key=lambda one: one.log_loss, default=None)
            if best is None or best.log_loss >= head.base_log_loss:
                found.append(head.conclusion())
            else:
                found.append(head.conclusion(best.model, best.lead))
        return found

    def __repr__(self) -> str:
        parts = ("slices", "effects", "baselines", "doubts")
        counts = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in parts)
        heads = [f"  {one.head}: {one.examples:,} examples, {one.positives:,} positives" for one in self.qualities]
        title = f"evaluation of {len(self.scored):,} issues, {self.labelled:,} with a label: {counts}"
        return "\n".join((title, *heads, *self.conclusions()))


def evaluated(
    running: ProgressiveRun,
    rules: PolicyRules,
    *,
    in_depth: bool = False,
    with_baselines: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluated:
    """Return what a run found, when all of its log was fed.

    Parameters
    ----------
    rules : PolicyRules
        Of the settings.
    in_depth : bool
        Whether to measure effects, if every arm was scored.
    with_baselines : bool
        Whether to learn baselines beside ours.
    on_progress : callable, optional
        Called with the baselines that are done and their number.
    """
    log, scored = running.log, running.finish()
    series = judged(scored, running.queue.heads)
    catalogue = {coupon.coupon_id: coupon for coupon in log.coupons}
    effects, effects_of, doubts = _effects(scored, log, rules) if in_depth else ([], "", [])
    return Evaluated(
        log=log,
        running=running,
        scored=scored,
        series=series,
        qualities=[quality(one) for one in series],
        slices=[
            part
            for one in series
            # Without a coupon there is nothing to tell coupons apart by.
            for part in ([*by_coupon(one), *by_segment(one, catalogue)] if one.head != "order" else by_segment(one, {}))
        ],
        effects=effects,
        effects_of=effects_of,
        doubts=doubts,
        baselines=baselines.compare(series, catalogue, on_progress) if with_baselines else [],
    )


def _effects(scored: Sequence[Scored], log: ForeignLog, rules: PolicyRules) -> tuple[list[ArmEffect], str, list[str]]:
    doubts: list[str] = []
    known = [one for one in scored if one.labelled_at is not None and one.by_arm]
    if not known or all(one.coupon_id != NO_COUPON for one in known):
        return [], "", doubts
    decisions = decisions_of(known, log, rules.typical_price_minor)
    reward = Reward.PURCHASE if decisions.purchased.any() else Reward.CLICK
    try:
        propensity = valuation.propensities_of(decisions, doubts)
        kept = propensity > 0  # not NaN
        found = rewards(decisions.at_rows(kept), reward, rules)
        return arm_effects.measure(decisions.at_rows(kept), found, propensity[kept]), reward.value, doubts
    except BadConfig as error:
        return [], reward.value, [*doubts, str(error)]
