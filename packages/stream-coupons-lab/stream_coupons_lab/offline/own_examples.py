"""The engine's own predictions and their outcomes, as its topic of training examples records them."""

from collections import defaultdict

from stream_coupons.core.decision.scoring import HEADS
from stream_coupons.core.messages.fields import NO_COUPON
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.kafka import topics
from stream_coupons.ops.topic_log import TopicLog
from stream_coupons_lab.offline.scored import Scored


class OwnExamples(TopicLog):
    """Examples of issues and controls; feed it records with `take`, in any order. Copies count once."""

    def __init__(self) -> None:
        super().__init__([topics.EXAMPLES])
        self._by_issue: defaultdict[str, dict[str, TrainingExample]] = defaultdict(dict)

    def note(self, message: TrainingExample) -> None:
        """Take one example."""
        if not message.observed and message.head in HEADS:
            self._by_issue[message.issue_id].setdefault(message.head, message)

    def scored(self) -> list[Scored]:
        """Return the issues and controls whose outcome is known, by the time of their decision."""
        found = map(_scored, self._by_issue.values())
        return sorted(found, key=lambda one: (one.occurred_at, one.issue_id))


def _scored(examples: dict[str, TrainingExample]) -> Scored:
    """Return one issue; a probability that has no label is 0, and is not judged."""
    is_control = "order" in examples
    outcome = examples.get("order") or examples.get("redeem") or examples["click"]
    predicted = {head: example.predicted for head, example in examples.items()}
    return Scored(
        issue_id=outcome.issue_id,
        user_id=outcome.user_id,
        arm=NO_COUPON if is_control else outcome.coupon_id,
        coupon_id=NO_COUPON if is_control else outcome.coupon_id,
        occurred_at=outcome.decided_at,
        propensity=outcome.propensity,
        p_click=predicted.get("click", 0.0),
        p_redeem=predicted.get("redeem", 0.0),
        p_order=predicted.get("order", 0.0),
        model_version=outcome.model_version,
        clicked=examples["click"].label if "click" in examples else None,
        redeemed=outcome.label,
        seen=outcome.seen,
        labelled_at=outcome.at,
    )
