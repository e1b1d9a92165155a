"""What the core asks of a model: probabilities for rows of features, and what each feature added."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.rows import FeatureRows, Subject
from stream_coupons.core.rules import Rules

HEADS = ("click", "redeem", "order")
"""Columns of a prediction: P(click), P(redeem), P(order in the coupon's scope without a coupon)."""


USES_RATIO = 0.6
"""Share of the orders in a coupon's scope, of those that would be placed without it, on which it is used."""


class Scorer(Protocol):
    """An immutable model."""

    @property
    def version(self) -> int:
        """Number of the snapshot; 0 is the prior, before anything was learnt."""

    @property
    def own(self) -> "Scorer":
        """The model of the engine's own decisions, which the engine's own issues and controls teach."""

    def predict(self, rows: FeatureRows) -> Floats:
        """Probabilities of shape (n, 3), columns as in `HEADS`."""

    def contributions(
        self, rows: FeatureRows, row: int, head: int, names: Sequence[str] = ()
    ) -> list[tuple[str, float, float]]:
        """(feature, value, what it adds to the log-odds) of one row, largest magnitude first.

        `names` are those of the hashed columns, if the coupon has attributes or the moment a context.
        """


class ValueScorer:
    """Base of scorers that state the value of each coupon themselves: rankings, and what knows a simulation's truth.

    Attributes
    ----------
    reads_features : bool
        Whether `values` reads the features. If not, they are not extracted, and all eligible coupons are valued.
    """

    version = 0
    reads_features = False

    @property
    def own(self) -> "ValueScorer":
        """The same."""
        return self

    def values(self, rows: FeatureRows) -> Floats:
        """Return the value of giving each row's coupon against giving none, minor units, shape (n,)."""
        return np.concatenate([self.values_of(subject) for subject in rows.subjects])

    def values_of(self, subject: Subject) -> Floats:
        """Return the values of one moment's coupons, minor units, in order of `subject.positions`."""
        raise NotImplementedError

    def predict(self, rows: FeatureRows) -> Floats:
        """Return zeros of shape (n, 3): there are no probabilities."""
        return np.zeros((len(rows), len(HEADS)))

    def contributions(self, *args: object, **kwargs: object) -> list[tuple[str, float, float]]:  # noqa: ARG002
        """Return nothing: there are no weights."""
        return []


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that a step may know besides its state and its message; immutable."""

    rules: Rules
    catalogue: Catalogue
    scorers: Mapping[str, Scorer]
    prior: Scorer

    def scorer(self, domain: str) -> Scorer:
        """The model of a domain; where none was learnt yet that of the domain it starts from, or else the prior."""
        source = first_of(domain, self.scorers, self.rules.transfer)
        return self.scorers[source] if source is not None else self.prior


def sources_of(domain: str, transfer: Mapping[str, str]) -> list[str]:
    """The domain that a domain starts from, the one that this starts from, and so on.

    >>> sources_of("travel", {"travel": "retail", "retail": "groceries"})
    ['retail', 'groceries']
    """
    sources = []
    while (source := transfer.get(domain)) is not None:
        sources.append(source)
        domain = source
    return sources


def first_of(domain: str, known: Container[str], transfer: Mapping[str, str]) -> str | None:
    """The first that is known of a domain and its sources; None if none is.

    >>> first_of("travel", {"groceries", "retail"}, {"travel": "retail", "retail": "groceries"})
    'retail'
    """
    return next((source for source in (domain, *sources_of(domain, transfer)) if source in known), None)
