"""The results of `evaluate` on a log: metrics by head and part, effects of arms, models, and baselines beside ours."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.rules import PolicyRules
from stream_coupons.lab.datasets.foreign import ForeignLog
from stream_coupons.lab.offline import arm_effects, baselines, inspection
from stream_coupons.lab.offline.arm_effects import ArmEffect
from stream_coupons.lab.offline.baselines import Beside
from stream_coupons.lab.offline.calibration_by_arm import OrderAnyway, order_anyway
from stream_coupons.lab.offline.inspection import Change, FeatureWeight, ServedModel
from stream_coupons.lab.offline.logged_decisions import decisions_of
from stream_coupons.lab.offline.progressive_run import ProgressiveRun
from stream_coupons.lab.offline.quality import HeadMetrics, LabelledIssues, Slice, judged, quality
from stream_coupons.lab.offline.scored import Scored
from stream_coupons.lab.offline.segments import by_coupon, by_segment
from stream_coupons.lab.ope import valuation
from stream_coupons.lab.ope.rewards import Reward, rewards


class ArmPrediction(Struct, frozen=True, kw_only=True):
    """One arm of one decision: its predictions, and, if it was chosen, its outcome.

    P(click) and P(redeem) are None for `none`. `clicked`, `redeemed` and `order_value_minor` are None for arms that
    were not chosen, and where the window was open when the log ended.
    """

    issue_id: str
    user_id: str
    occurred_at: float
    arm: str
    is_chosen: bool
    propensity: float | None
    p_click: float | None
    p_redeem: float | None
    p_order: float
    clicked: bool | None
    redeemed: bool | None
    seen: bool | None
    order_value_minor: int | None
    labelled_at: float | None
    model_version: int


@dataclass(frozen=True)
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
    anyway: OrderAnyway | None
    models: list[ServedModel]
    changes: list[Change]
    weights: list[FeatureWeight] = field(default_factory=list)
    effects: list[ArmEffect] = field(default_factory=list)
    effects_of: str = ""
    doubts: list[str] = field(default_factory=list)
    baselines: list[Beside] = field(default_factory=list)


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
        Whether to weigh features and, if every arm was scored, to measure effects.
    with_baselines : bool
        Whether to learn baselines beside ours.
    on_progress : callable, optional
        Called with the baselines that are done and their number.
    """
    log, scored = running.log, running.finish()
    series = judged(scored, running.heads)
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
        anyway=order_anyway(series),
        models=inspection.served_models(running),
        changes=inspection.changes(running),
        weights=inspection.feature_weights(running, scored) if in_depth else [],
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
        propensity, _ = valuation.propensities_of(decisions, doubts)
        kept = propensity > 0  # not NaN
        found = rewards(decisions.at_rows(kept), reward, rules)
        return arm_effects.measure(decisions.at_rows(kept), found, propensity[kept]), reward.value, doubts
    except BadConfig as error:
        return [], reward.value, [*doubts, str(error)]


def arm_predictions(scored: Sequence[Scored]) -> Iterator[ArmPrediction]:
    """Yield every arm of every decision in order of time; of decisions whose arms were not scored, the one chosen."""
    for one in scored:
        own = one.arm if one.arm in one.by_arm or one.coupon_id not in one.by_arm else one.coupon_id
        by_arm = one.by_arm or {own: (one.p_click, one.p_redeem, one.p_order)}
        for arm, (click, redeem, order) in by_arm.items():
            is_chosen, is_none = arm == own, arm == NO_COUPON
            yield ArmPrediction(
                issue_id=one.issue_id,
                user_id=one.user_id,
                occurred_at=one.occurred_at,
                arm=arm,
                is_chosen=is_chosen,
                propensity=one.propensity if is_chosen else None,
                p_click=None if is_none else click,
                p_redeem=None if is_none else redeem,
                p_order=order,
                clicked=one.clicked if is_chosen else None,
                redeemed=one.redeemed if is_chosen else None,
                seen=one.seen if is_chosen else None,
                order_value_minor=one.value_minor if is_chosen else None,
                labelled_at=one.labelled_at if is_chosen else None,
                model_version=one.model_version,
            )
