"""Which model serves a domain: its own, or that of the domain it starts from, or the prior."""

import pytest

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.rules import Rules
from tests.core.builders import FixedScorer

PRIOR, RETAIL, GROCERIES = FixedScorer(), FixedScorer(), FixedScorer()
RULES = Rules(key=PUBLIC_KEY, transfer={"travel": "retail", "retail": "groceries"})


@pytest.mark.parametrize(
    ("learnt", "served"),
    [
        ({}, PRIOR),
        ({"finance": RETAIL}, PRIOR),
        ({"groceries": GROCERIES}, GROCERIES),
        ({"groceries": GROCERIES, "retail": RETAIL}, RETAIL),
        ({"groceries": GROCERIES, "travel": RETAIL}, RETAIL),
    ],
)
def test_before_its_own_a_domain_is_served_by_the_nearest_it_starts_from(
    learnt: dict[str, FixedScorer], served: FixedScorer
) -> None:
    known = Knowledge(RULES, Catalogue([]), learnt, PRIOR)
    assert known.scorer("travel") is served


def test_a_domain_that_starts_from_none_is_served_by_the_prior() -> None:
    known = Knowledge(RULES, Catalogue([]), {"retail": RETAIL}, PRIOR)
    assert known.scorer("groceries") is PRIOR
    assert known.scorer("finance") is PRIOR
