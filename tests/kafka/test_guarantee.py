"""A broker that cannot do what `kafka.guarantee` promises is refused before a worker starts."""

from types import SimpleNamespace
from typing import Any

import pytest

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.admin import check_guarantee
from stream_coupons.kafka.settings import Guarantee, KafkaSettings


def client(features: dict[str, Any]) -> Any:
    """A client of a broker with these features."""
    return SimpleNamespace(describe_features=lambda: features)


@pytest.mark.parametrize(
    ("features", "level"),
    [({}, 0), ({"transaction.version": {"supported": (0, 2)}}, 0), ({"transaction.version": {"finalized": (1, 1)}}, 1)],
)
def test_exactly_once_needs_transactions_of_apache_kafka_4(features: dict[str, Any], level: int) -> None:
    found = client(features)
    with pytest.raises(BadConfig, match=rf"has transaction\.version {level}, expected 2: .*upgrade"):
        check_guarantee(found, KafkaSettings(guarantee=Guarantee.EXACTLY_ONCE))
    check_guarantee(found, KafkaSettings(guarantee=Guarantee.AT_LEAST_ONCE))


def test_whoever_has_them_may_promise_it() -> None:
    found = client({"transaction.version": {"finalized": (2, 2)}})
    check_guarantee(found, KafkaSettings(guarantee=Guarantee.EXACTLY_ONCE))
