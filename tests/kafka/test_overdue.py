"""A report on a late delivery costs a delivery that is in time nothing that stays."""

import asyncio
import gc

from stream_coupons.kafka.overdue import report_overdue


def test_a_delivery_in_time_leaves_no_cycle_to_be_collected() -> None:
    async def deliver() -> int:
        gc.collect()
        with report_overdue("users", 1, 60.0, lambda _: None):
            await asyncio.sleep(0)
        return gc.collect()

    assert asyncio.run(deliver()) == 0
