"""Sample of the training examples for a learner that is behind: everything that happened, and some of what did not.

An example without an outcome tells little where little was expected: its information is about the predicted
probability p. So negatives are drawn in proportion to p, some per expected positive (local case-control sampling [1]_).
Where one in w is learnt, the odds of the label among those learnt are w times those among all. Filters learn by these
odds: their steps stay those of a posterior, and no single example moves them w times as far. What is counted (quality,
level, drift, comparisons, the effect's linear model) counts a negative w times: its sums stay unbiased [2]_, with the
share p w of the variance that the positives have anyway, at most 1 over the negatives per expected positive. Prices on
view are counted of all examples.

Replays and `LocalPipeline` have no lag, so they learn all. The levels of a live learner are in its snapshots.

References
----------
.. [1] Fithian, W., and Hastie, T. (2014). Local case-control sampling: efficient subsampling in imbalanced data sets.
       Annals of Statistics 42(5).
.. [2] Horvitz, D. G., and Thompson, D. J. (1952). A generalization of sampling without replacement from a finite
       universe. JASA 47(260).
"""

import math

from stream_coupons.core.draws import DrawKey
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.models.inputs import WHOLE, Sample
from stream_coupons.models.level import is_drawn

FIRST_NEGATIVES = 16.0
"""Negatives per expected positive at the first level of thinning; each further level halves them."""
CHANCE_RATIO = 8.0
"""Factor on the share of negatives that are learnt where chance drew the coupon, or withheld it: few, and the evidence
against which the level is checked. Control observations are as many as coupons, and have the usual share."""
MAX_DOUBLINGS = 8
"""Base-2 logarithm of the largest weight of an example."""
LEAST_PREDICTED = 1e-6


def is_rare(example: TrainingExample) -> bool:
    """Return True if something happened, which is always learnt: the label, an order in scope, or a discount."""
    return example.label or bool(example.ordered) or example.discount_minor > 0


def draw(example: TrainingExample, thinning: int, key: DrawKey) -> Sample:
    """Return what an example stands for: itself, or a power of two of those in which nothing happened, or nothing.

    Parameters
    ----------
    example : TrainingExample
        The example. Its id decides the draw: a copy falls alike, and what is drawn at one level is drawn below it.
    thinning : int
        Level of thinning, from 0, at which all is learnt, to `MAX_THINNING`.
    key : DrawKey
        Key of the draw, so that no client chooses what is learnt.
    """
    if thinning == 0:
        return WHOLE
    by_chance = example.withheld or (example.head != "order" and is_drawn(example))
    expected = max(example.predicted, LEAST_PREDICTED) * (CHANCE_RATIO if by_chance else 1.0)
    share = expected * FIRST_NEGATIVES / 2 ** (thinning - 1)
    odds = 1 << min(max(-math.frexp(share)[1], 0), MAX_DOUBLINGS)
    if odds == 1 or is_rare(example):
        return Sample(1, float(odds))
    return Sample(odds if key.uniform("learn", example.example_id) * odds < 1.0 else 0, float(odds))
