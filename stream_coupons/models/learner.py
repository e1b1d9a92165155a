"""Learner of the models of each domain: test, then train, then snapshot."""

import logging
from functools import partial

import msgspec

from stream_coupons.core.decision.incremental import uses_of
from stream_coupons.core.decision.scoring import first_of, sources_of
from stream_coupons.core.draws import PUBLIC_KEY, DrawKey
from stream_coupons.core.errors import BadMessage, PluginError
from stream_coupons.core.features.numeric import NUMERIC
from stream_coupons.core.features.rows import DIMENSIONS, SCHEMA
from stream_coupons.core.messages.learning import MAX_THINNING, ModelSnapshot, TrainingExample
from stream_coupons.core.reasons import Rejection
from stream_coupons.models.carry_over import carried, changes, earlier_of, is_carriable
from stream_coupons.models.effect import RedemptionCurve, either, sigmoid
from stream_coupons.models.heads import Happening, Head, News
from stream_coupons.models.incremental import CouponOutcome, IncrementalLearner, ShopModels
from stream_coupons.models.inputs import WHOLE, Row, Sample, check_features, input_of
from stream_coupons.models.level import is_drawn
from stream_coupons.models.linear import ALL_HEADS, HEAD_OF
from stream_coupons.models.plugins import check_plugins
from stream_coupons.models.quality import summary
from stream_coupons.models.row_scorer import Served
from stream_coupons.models.rules import LearningRules
from stream_coupons.models.sampling import draw
from stream_coupons.models.serving import HeadScorer, live_scorer, scorer_of
from stream_coupons.models.snapshots import check, label, make_snapshot, named, unpack_state
from stream_coupons.models.viewed_prices import ViewCounts

log = logging.getLogger(__name__)

Origin = tuple[str, tuple[int, int]]
"""Source and position of the record that led to an example: one at or before the last position is a copy."""


class DomainModel:
    """Heads of one domain, each with its models, and their progress.

    Redemptions and orders train the effect of coupons and the demand without them, by whichever system decided.
    """

    def __init__(self, domain: str, rules: LearningRules, *, key: DrawKey = PUBLIC_KEY) -> None:
        self.domain = domain
        self.version = self.examples = self.thinning = 0
        self.at = 0.0
        self.offset = -1
        self._live: HeadScorer | None = None
        self.origins: dict[str, tuple[int, int]] = {}
        self.earlier: dict[str, list[str]] = {}
        """Names of the numeric features of earlier feature spaces, by feature schema."""
        self.heads = {name: Head(name, rules, key) for name in ALL_HEADS}
        self.views = ViewCounts()
        self.incremental = IncrementalLearner()

    def start_from(self, donor: "DomainModel") -> None:
        """Start from the model of another domain, before the first example."""
        for name, head in self.heads.items():
            head.start_from(donor.heads[name])
        self.incremental.start_from(donor.incremental)
        self._live = None

    def learn(self, example: TrainingExample, row: Row | None = None, sample: Sample = WHOLE) -> list[Happening]:
        """Score the stored prediction against the label, then take a step; parameters as of `Trainer.learn`."""
        row = row or Row(example.numeric, example.hashed, sample)
        is_click = example.head == "click"
        happenings = self.heads["click"].learn(example, row) if is_click else self._learn_order(example, row)
        self.examples += 1
        return happenings

    def note(self, example: TrainingExample) -> None:
        """Count what is counted of all examples, those left out by sampling included."""
        if example.on_view is not None:
            self.views.learn_one(example.on_view)
        self.at = max(self.at, example.at)
        self._live = None

    def _learn_order(self, example: TrainingExample, row: Row) -> list[Happening]:
        """Take a step of the heads of orders; a redemption label trains both demand and effect."""
        visit, demand, effect = self.heads["visit"], self.heads["demand"], self.heads["effect"]
        of_demand = input_of("demand", row)
        drawn = is_drawn(example)
        if example.head == "visit":
            of_demand.held = example.held
            return visit.learn(example, of_demand, is_drawn=drawn)
        within, later = sigmoid(visit.log_odds(of_demand)), sigmoid(demand.log_odds(of_demand))
        doubt_of_visit = visit.variance(of_demand)
        of_effect, uses = input_of("effect", row), uses_of(row.numeric, self.incremental.uses_ratio)
        predicted = RedemptionCurve(sigmoid(effect.log_odds(of_effect)), either(later, within), uses, visit=within)
        self._learn_incremental(example, row, predicted)
        if example.head == "order":
            order = RedemptionCurve(later, within, uses=1.0, visit=within)
            of_demand.anyway, of_demand.uses = within, 1.0
            of_demand.doubt = order.slope_of_visit**2 * doubt_of_visit
            return demand.learn(example, of_demand, is_drawn=drawn)
        # An order in scope is a better label of demand than a redemption, where orders are recorded.
        is_noted, ordered = example.ordered is not None, bool(example.ordered) or example.label
        seen = RedemptionCurve(predicted.effect, predicted.anyway, 1.0, within) if is_noted else predicted
        of_demand.effect, of_demand.uses, of_demand.visit = seen.effect, seen.uses, within
        of_demand.doubt = seen.slope_of_visit**2 * doubt_of_visit + seen.slope_of_effect**2 * effect.variance(of_effect)
        of_effect.anyway, of_effect.uses = predicted.anyway, predicted.uses
        if is_noted:
            of_effect.sample = of_effect.sample.also_whole(predicted.unused)
        of_effect.doubt = predicted.slope_of_visit**2 * doubt_of_visit
        of_effect.doubt += predicted.slope_of_demand**2 * demand.variance(of_demand)
        demand.learn_redemption(of_demand, ordered)
        return effect.learn(example, of_effect, is_drawn=drawn)

    def _learn_incremental(self, example: TrainingExample, row: Row, predicted: RedemptionCurve) -> None:
        """Learn whether the shopper ordered in scope, where orders were noted.

        What other systems decided by is not known: their coupons show no effect, but on which orders they are used.
        """
        if example.ordered is None:
            return
        is_given, weight = example.head == "redeem", row.sample.weight
        redeemed = is_given and (example.label or example.discount_minor > 0)
        ordered = example.ordered or redeemed
        if (is_given or example.withheld) and not example.observed:
            coupon = int(row.hashed[0]) % DIMENSIONS if len(row.hashed) else 0
            outcome = CouponOutcome(
                redeem=predicted.probability,
                anyway=predicted.anyway,
                uses=predicted.uses,
                order_minor=example.expected_order_minor,
                discount_minor=example.expected_discount_minor,
                is_given=is_given,
                ordered=ordered,
                redeemed=redeemed,
                value_minor=float(example.order_value_minor or 0),
                other_minor=float(example.other_value_minor or 0),
                taken_minor=float(example.discount_minor),
                at=example.at,
                weight=weight,
            )
            self.incremental.learn_one(coupon, outcome)
        if is_given:
            of_use = weight * uses_of(row.numeric, 1.0)
            self.incremental.learn_use(predicted.anyway, ordered=ordered, redeemed=redeemed, weight=of_use)

    def snapshot(self) -> ModelSnapshot:
        """Return a snapshot, with the next version."""
        self.version += 1
        heads = {name: head.state() for name, head in self.heads.items()}
        qualities = {label: self.heads[head].quality for label, head in HEAD_OF.items()}
        progress = (self.examples, self.offset, self.origins, self.at)
        shop = self.views.state(), self.incremental.state()
        quality = {label: summary(each) for label, each in qualities.items() if each.examples}
        made = make_snapshot(self.domain, self.version, heads, shop, quality, progress)
        return msgspec.structs.replace(made, earlier=self.earlier, thinning=self.thinning)

    def scorer(self) -> HeadScorer:
        """Return the next version, to serve in this process: the same scorer as `compile_snapshot` of the snapshot."""
        self.version += 1
        return scorer_of(self.version, self._served(), self._shop())

    def live(self) -> HeadScorer:
        """Return the next version, if anything was learnt, without a copy of the weights, for immediate use.

        It costs some tens of microseconds after an example. Later learning changes the scorer: call again after it.
        """
        if self._live is None:
            self.version += 1
            self._live = live_scorer(self.version, self._served(), self._shop())
        return self._live

    def _served(self) -> dict[str, Served]:
        return {name: head.served for name, head in self.heads.items()}

    def _shop(self) -> ShopModels:
        return ShopModels(self.views.served, self.incremental.served)

    def restore(self, snapshot: ModelSnapshot) -> None:
        """Resume from a snapshot, as an untrained model; one of other features is carried over.

        Raises
        ------
        SnapshotMismatch
            If it does not fit this program; the model is then unusable.
        """
        if is_carriable(snapshot):
            log.info("%s", changes(snapshot))
        earlier, snapshot = earlier_of(snapshot), carried(snapshot)
        check(snapshot)
        for name, head in self.heads.items():
            with named(f"{label(snapshot)}, {name}"):
                head.restore(snapshot.heads[name])
        with named(f"{label(snapshot)}, viewed_prices"):
            self.views.restore(unpack_state(snapshot.viewed_prices))
        with named(f"{label(snapshot)}, incremental"):
            self.incremental.restore(unpack_state(snapshot.incremental))
        self._live = None
        self.version, self.examples, self.thinning = snapshot.version, snapshot.examples, snapshot.thinning
        self.at = snapshot.at
        self.offset = snapshot.source_offset
        self.origins = dict(snapshot.origins)
        self.earlier = earlier


class Trainer:
    """The models of all domains, fed from one ordered log of examples.

    Parameters
    ----------
    key : DrawKey
        Signs the snapshots of River classifiers, and draws the examples to learn for a learner that is behind.
    """

    def __init__(self, rules: LearningRules, *, key: DrawKey = PUBLIC_KEY) -> None:
        check_plugins(rules)
        self._rules, self._key = rules, key
        self._new_model = partial(DomainModel, rules=rules, key=key)
        self.models: dict[str, DomainModel] = {}
        self._news: list[News] = []
        self._changed: set[str] = set()

    def restore(self, snapshots: dict[str, ModelSnapshot]) -> None:
        """Resume from the last snapshots of all domains.

        Raises
        ------
        SnapshotMismatch
        """
        for domain, snapshot in snapshots.items():
            model = self._new_model(domain)
            model.restore(snapshot)
            self.models[domain] = model

    def _model(self, domain: str) -> DomainModel:
        """Return the model of a domain; before its first example, started from a donor by `LearningRules.transfer`."""
        if domain not in self.models:
            self.models[domain] = self._new_model(domain)
        model = self.models[domain]
        if not model.examples:
            taught = [name for name, other in self.models.items() if other is not model and other.examples]
            donor = first_of(domain, taught, self._rules.transfer)
            if donor is not None:
                model.start_from(self.models[donor])
        return model

    def draw(self, example: TrainingExample) -> Sample:
        """Return what an example stands for, at its domain's level of thinning."""
        model = self.models.get(example.domain)
        return WHOLE if model is None else draw(example, model.thinning, self._key)

    @property
    def thinning(self) -> int:
        """Highest level of thinning of the domains that are in the next snapshots."""
        return max((self.models[domain].thinning for domain in self._changed), default=0)

    def thin(self, change: int) -> None:
        """Change the level of thinning of all domains that are in the next snapshots, within its bounds.

        The level changes with a snapshot only, so that a restart from it draws the same examples.
        """
        for domain in self._changed:
            model = self.models[domain]
            model.thinning = min(max(model.thinning + change, 0), MAX_THINNING)

    def learn(
        self,
        example: TrainingExample,
        offset: int,
        origin: Origin | None,
        row: Row | None = None,
        *,
        sample: Sample = WHOLE,
    ) -> bool:
        """Learn one example of the log; return False if this record, or a copy of it, was taken already.

        Parameters
        ----------
        example, offset : TrainingExample, int
            The record, whose domain gets a model if it has none, and its offset: those up to the last learnt are known.
        origin : Origin, optional
            Origin of the example, which identifies a second copy of the record.
        row : Row, optional
            The example's features, if available in this process: those in the example are not read then.
        sample : Sample
            What it stands for, by `draw`: if nothing, it is left out.

        Raises
        ------
        BadMessage
            If its features are not of this program's feature space, or a model from another package fails on them.
        """
        if row is None:
            example = self._of_this_space(example)
            check_features(example.feature_schema, example.numeric, example.hashed)
        model = self._model(example.domain)
        is_copy = origin is not None and origin[1] <= model.origins.get(origin[0], (-1, -1))
        if offset <= model.offset or is_copy:
            return False
        try:
            happenings = model.learn(example, row, sample) if sample.weight else []
        except PluginError as error:
            raise BadMessage(Rejection.STEP_FAILED, str(error)) from error
        model.note(example)
        self._news += (News(example.domain, example.head, each) for each in happenings)
        model.offset = offset
        if origin is not None:
            model.origins[origin[0]] = origin[1]
        self._changed.add(example.domain)
        return True

    def _of_this_space(self, example: TrainingExample) -> TrainingExample:
        """Return the example with this program's numeric features, by name, if those of its space are known."""
        model = self.models.get(example.domain)
        names = model.earlier.get(example.feature_schema, []) if model is not None else []
        if not names or len(names) != len(example.numeric):
            return example
        found = dict(zip(names, example.numeric, strict=True))
        numeric = [found.get(name, 0.0) for name in NUMERIC]
        return msgspec.structs.replace(example, feature_schema=SCHEMA, numeric=numeric)

    def news(self) -> list[News]:
        """Return promotions and drifts since the last call, in order."""
        news, self._news = self._news, []
        return news

    @property
    def is_telling(self) -> bool:
        """True if what was learnt since the last snapshots changes decisions; it depends on the examples alone."""
        return any(head.is_telling for domain in self._changed for head in self.models[domain].heads.values())

    def touch(self, domain: str) -> None:
        """Have the domain in the next snapshots, if it has a model, though it learnt nothing."""
        if domain in self.models:
            self._changed.add(domain)

    def snapshots(self) -> list[ModelSnapshot]:
        """Return snapshots of the domains that learnt something since the last call."""
        return [self._model(domain).snapshot() for domain in self._take_changed()]

    def scorers(self) -> dict[str, HeadScorer]:
        """Return scorers of the same domains, by name, for this process, in a fraction of the time of a snapshot."""
        return {domain: self._model(domain).scorer() for domain in self._take_changed()}

    def live(self) -> dict[str, HeadScorer]:
        """Return scorers of the same domains, by name, for immediate use; see `DomainModel.live`."""
        return {domain: self._model(domain).live() for domain in self._take_changed()}

    def _take_changed(self) -> list[str]:
        # A domain before those it may start from: if only the first snapshots are appended before a crash, no domain
        # starts again, from a donor that has learnt on meanwhile.
        transfer = self._rules.transfer
        changed = sorted(self._changed, key=lambda domain: (-len(sources_of(domain, transfer)), domain))
        self._changed = set()
        return changed
