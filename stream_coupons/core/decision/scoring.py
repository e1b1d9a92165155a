"""The interface of models to the core, and the context of a decision: rules, catalogue and models."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.catalogue.viewed_prices import NOTHING_VIEWED, ViewedPrices
from stream_coupons.core.decision.incremental import STRUCTURAL, IncrementalMargin
from stream_coupons.core.features.rows import FeatureRows, Subject
from stream_coupons.core.messages.learning import LiftBrake
from stream_coupons.core.rules import Rules

HEADS = ("click", "redeem", "order")
"""First columns of a prediction: P(click), P(redeem), P(order in the coupon's scope without a coupon)."""
CLICK, REDEEM, ORDER = range(len(HEADS))
VISIT = len(HEADS)
"""Column of P(order in the coupon's scope within the visit), which learnt models have."""
LABELS = (*HEADS, "visit")
"""Outcomes that models learn."""
NO_BRAKE = LiftBrake()


class Scorer(Protocol):
    """An immutable model."""

    @property
    def version(self) -> int:
        """Number of the snapshot; 0 is the prior, before any example."""

    @property
    def viewed_prices(self) -> ViewedPrices:
        """Prices that visitors look at, as far as they were learnt."""

    @property
    def incremental(self) -> IncrementalMargin:
        """Parts of the value of coupons."""

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities, shape (n, 4), columns as in `LABELS`; without models of visits (n, 3)."""

    def contributions(
        self, rows: FeatureRows, row: int, head: int, names: Sequence[str] = ()
    ) -> list[tuple[str, float, float]]:
        """Return (feature, value, addition to the log-odds) of one row, largest magnitude first.

        Parameters
        ----------
        rows : FeatureRows
            Rows of features.
        row : int
            Index of the row.
        head : int
            Column of the prediction.
        names : sequence of str
            Names of the hashed columns, if the coupon has attributes or the moment a context.
        """


class ValueScorer:
    """Base of scorers that compute coupon values directly: rankings, and oracles of a simulation's ground truth.

    Attributes
    ----------
    reads_features : bool
        True if `values` reads the features. If not, they are not extracted, and all eligible coupons are valued.
    """

    version = 0
    reads_features = False
    viewed_prices = NOTHING_VIEWED
    incremental = STRUCTURAL

    def values(self, rows: FeatureRows) -> Floats:
        """Return the value of giving each row's coupon over giving none, minor units, shape (n,)."""
        return np.concatenate([self.values_of(subject) for subject in rows.subjects])

    def values_of(self, subject: Subject) -> Floats:
        """Return the values of one moment's coupons, minor units, in the order of `subject.positions`."""
        raise NotImplementedError

    def predict(self, rows: FeatureRows) -> Floats:
        """Return zeros of shape (n, 3): there are no probabilities."""
        return np.zeros((len(rows), len(HEADS)))

    def contributions(self, *args: object, **kwargs: object) -> list[tuple[str, float, float]]:  # noqa: ARG002
        """Return nothing: there are no weights.

        Parameters
        ----------
        *args
            As of `Scorer.contributions`.
        **kwargs
            As of `Scorer.contributions`.
        """
        return []


UNPREDICTED = ValueScorer()
"""Scorer of what was not predicted yet."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Immutable context of a step, besides its state and its message: rules, catalogue and models."""

    rules: Rules
    catalogue: Catalogue
    scorers: Mapping[str, Scorer]
    prior: Scorer
    brakes: Mapping[str, LiftBrake] = field(default_factory=dict)

    def brake(self, domain: str) -> LiftBrake:
        """Return the limits on the coupons of a domain by the measured lift."""
        return self.brakes.get(domain, NO_BRAKE)

    def scorer(self, domain: str) -> Scorer:
        """Return the model of a domain, else the model of its first source that has one, else the prior."""
        if not self.scorers:
            return self.prior
        source = first_of(domain, self.scorers, self.rules.transfer)
        return self.scorers[source] if source is not None else self.prior


def sources_of(domain: str, transfer: Mapping[str, str]) -> list[str]:
    """Return the chain of source domains of a domain, nearest first.

    Parameters
    ----------
    domain : str
        The domain.
    transfer : mapping
        Source domain by domain; no chain leads back to its start.

    Examples
    --------
    >>> sources_of("travel", {"travel": "retail", "retail": "groceries"})
    ['retail', 'groceries']
    """
    sources = []
    while (source := transfer.get(domain)) is not None:
        sources.append(source)
        domain = source
    return sources


def first_of(domain: str, known: Container[str], transfer: Mapping[str, str]) -> str | None:
    """Return the first known domain among a domain and its sources, or None.

    Parameters
    ----------
    domain : str
        The domain.
    known : container of str
        Domains.
    transfer : mapping
        Source domain by domain; no chain leads back to its start.

    Examples
    --------
    >>> first_of("travel", {"groceries", "retail"}, {"travel": "retail", "retail": "groceries"})
    'retail'
    """
    source: str | None = domain
    while source is not None and source not in known:
        source = transfer.get(source)
    return source
