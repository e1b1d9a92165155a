"""A system whose own topics are recorded, with the models that it took up."""

import msgspec

from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Output
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.settings import Settings
from stream_coupons.testing import LocalPipeline, browse, coupon, feedback, item, order

AT = 1_767_348_000.0
DAY_S = 86400.0
COUPONS = [
    coupon(
        f"{name}-{percent}",
        domain=domain,
        categories=scope,
        discount_percent=float(percent),
        discount_minor=None,
        max_discount_minor=400,
        redeem_within_s=DAY_S,
    )
    for domain, name, scope in (
        ("grocery", "tea", ["tea"]),
        ("grocery", "coffee", ["coffee"]),
        ("travel", "train", ["train"]),
        ("travel", "any", []),
    )
    for percent in (10, 25)
]
Records = list[tuple[str, bytes]]


class Recording:
    """A system that takes up its models once a day.

    Attributes
    ----------
    records : list of (topic, value)
        All that was appended, in order.
    issues : list of CouponIssue
        Those among them.
    """

    def __init__(self, settings: Settings) -> None:
        self.records: Records = []
        self.issues: list[CouponIssue] = []
        self._shop = LocalPipeline(settings, COUPONS, serves_at_once=False, on_output=self._take)
        self._at = AT

    def _take(self, output: Output) -> None:
        if output.value is None:
            return
        self.records.append((output.topic, output.value))
        if output.topic == topics.ISSUES.name:
            self.issues.append(msgspec.json.decode(output.value, type=CouponIssue))

    def live(self, days: int) -> "Recording":
        """Let shoppers look, buy and respond; return the recording."""
        for day in range(days):
            for shopper in range(12):
                self._visit(day, shopper)
            self._at += DAY_S / 2
            self._shop.tick(self._at)
            self._take_up_models()
        return self

    def _visit(self, day: int, shopper: int) -> None:
        name = ("tea", "coffee", "train")[shopper % 3]
        domain, user = "travel" if name == "train" else "grocery", f"u{shopper}"
        self._at += 600.0
        seen, event = len(self.issues), f"{day}-{shopper}"
        look = item(f"{name}-1", category=name, price_minor=900)
        self._shop.publish(browse(user, look, event_id=event, domain=domain, at=self._at))
        if shopper % 4 == 0:
            self._shop.publish(order(user, look, event_id=f"o{event}", domain=domain, at=self._at + 60))
        for issue in self.issues[seen:]:
            for kind in ("click", "purchase") if shopper % 2 else ("click",):
                self._shop.publish(feedback(issue, kind, at=self._at + 90))

    def _take_up_models(self) -> None:
        snapshots = self._shop.trainer.snapshots()
        scorers: dict[str, Scorer] = {one.domain: compile_snapshot(one) for one in snapshots}
        self.records += [(topics.SNAPSHOTS.name, encode(one)) for one in snapshots]
        self._shop._serve(scorers)


SETTINGS = msgspec.structs.replace(
    Settings(),
    policy=msgspec.structs.replace(
        Settings().policy, cooldown_s=0.0, max_issues_per_window=50, holdout_ratio=0.2, exploration_ratio=0.5
    ),
)
