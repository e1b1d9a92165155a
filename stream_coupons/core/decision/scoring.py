"""Model interface of the core: probabilities for rows of features, and the contribution of each feature."""

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
"""Share of the orders in a coupon's scope that would be placed anyway, on which the coupon is used."""


class Scorer(Protocol):
    """An immutable model."""

    @property
    def version(self) -> int:
        """Number of the snapshot; 0 is the prior, before any example."""

    @property
    def own(self) -> "Scorer":
        """Model of the engine's own decisions, trained on the engine's own issues and controls."""

    def predict(self, rows: FeatureRows) -> Floats:
        """Return probabilities of shape (n, 3), columns as in `HEADS`."""

    def contributions(
        self, rows: FeatureRows, row: int, head: int, names: Sequence[str] = ()
    ) -> list[tuple[str, float, float]]:
        """Return (feature, value, addition to the log-odds) of one row, largest magnitude first.

        Parameters
        ----------
        head : int
            Column of `HEADS`.
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

    @property
    def own(self) -> "ValueScorer":
        """The scorer itself."""
        return self

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
        """Return nothing: there are no weights."""
        return []


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Immutable context of a step, besides its state and its message: rules, catalogue and models."""

    rules: Rules
    catalogue: Catalogue
    scorers: Mapping[str, Scorer]
    prior: Scorer

    def scorer(self, domain: str) -> Scorer:
        """Return the model of a domain, else the model of its first source that has one, else the prior."""
        source = first_of(domain, self.scorers, self.rules.transfer)
        return self.scorers[source] if source is not None else self.prior


def sources_of(domain: str, transfer: Mapping[str, str]) -> list[str]:
    """Return the chain of source domains of a domain, nearest first.

    Parameters
    ----------
    transfer : mapping
        Source domain by domain; no chain leads back to its start.

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
    known : container of str
        Domains.
    transfer : mapping
        Source domain by domain; no chain leads back to its start.

    >>> first_of("travel", {"groceries", "retail"}, {"travel": "retail", "retail": "groceries"})
    'retail'
    """
    return next((source for source in (domain, *sources_of(domain, transfer)) if source in known), None)
