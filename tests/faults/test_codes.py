"""More shoppers than imported codes, and workers die meanwhile: each code is given once, and none is left."""

from pathlib import Path

import pytest

from benchmarks.codes import COUPON, SHOPPERS_A_SECOND, Drawn, Supervised, draw, draw_rest, judge, settings
from loopback_kafka import BrokerProcess
from stream_coupons.ops import coupon_codes
from stream_coupons.testing import START
from tests.integration.builders import violations

pytestmark = pytest.mark.kafka

CODES = 1000


@pytest.mark.essential
def test_every_code_is_given_once_whoever_dies(empty_broker: BrokerProcess, tmp_path: Path) -> None:
    system = Supervised(empty_broker, settings(), tmp_path)
    system.prepare([COUPON])
    coupon_codes.add(system.settings.kafka, COUPON.coupon_id, [f"CODE-{number}" for number in range(CODES)])
    with system:
        system.wait_ready()
        draw(system, range(60), 0)
        draw(system, range(60, CODES), 2)
        after_kills = judge(system)
        draw_rest(system, START + CODES / SHOPPERS_A_SECOND, 20)
        assert (after_kills.twice, after_kills.lost) == (0, 0)
        assert judge(system) == Drawn(imported=CODES, given=CODES, twice=0, lost=0)
        assert violations(system) == []
