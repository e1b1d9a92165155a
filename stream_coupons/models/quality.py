"""Quality of one head's predictions at decision time, scored as their delayed labels arrive.

It counts from the start of the process, while weights resume from the snapshot.
"""

import math

from stream_coupons.core.messages.learning import HeadQuality
from stream_coupons.models.metrics import BinaryMetrics


def summary(metrics: BinaryMetrics) -> HeadQuality:
    """Return the quality of served predictions as recorded in a snapshot.

    Parameters
    ----------
    metrics : BinaryMetrics
        Metrics of the predictions so far.
    """
    roc_auc = metrics.roc_auc
    return HeadQuality(
        examples=metrics.examples,
        positives=metrics.positives,
        log_loss=metrics.log_loss,
        roc_auc=None if math.isnan(roc_auc) else roc_auc,
        base_log_loss=metrics.base_log_loss,
    )
