"""The summary of served predictions that a snapshot carries."""

from stream_coupons.models.metrics import BinaryMetrics
from stream_coupons.models.quality import summary


def test_what_is_not_defined_is_left_out() -> None:
    metrics = BinaryMetrics()
    metrics.update(0.1, False)
    assert (summary(metrics).examples, summary(metrics).roc_auc) == (1, None)
    metrics.update(0.2, True)
    assert summary(metrics).roc_auc == metrics.roc_auc == 1.0
