"""Cost by age: every part of a shop's work is there to be measured."""

import itertools

from benchmarks.ages import PARTS, Shop
from benchmarks.load.workload import Workload

SHOPPERS, A_DAY = 10, 100


def test_a_shop_without_labels_or_snapshots_is_measured_as_free() -> None:
    workload = Workload(events=3 * A_DAY, shoppers=SHOPPERS, coupons=5)
    shop, stream = Shop(workload, partitions=2), workload.stream()
    for number in range(workload.events // 2):
        events = list(itertools.islice(stream, 2))
        shop.take([shop.record(*one) for one in events], max(event.occurred_at for _, event in events), number / 5)
    assert sorted(part for part in PARTS if shop.spent_s[part] > 0.0) == sorted(PARTS)
    assert shop.state_bytes() > 0 < shop.snapshot_bytes
