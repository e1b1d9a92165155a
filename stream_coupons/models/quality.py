"""Quality of one head's predictions at decision time, scored as their delayed labels arrive.

It counts from the start of the process, while weights resume from the snapshot.
"""

import math
from dataclasses import dataclass

from stream_coupons.core.messages.learning import HeadQuality
from stream_coupons.models.champion import log_loss
from stream_coupons.models.metrics import BinaryMetrics


@dataclass(frozen=True, slots=True)
class HeadReport:
    """Metrics of one head at one moment; undefined ones (AUC without a positive, say) are NaN.

    `log_loss_gap` is the recent log loss less the overall one: above 0 the model is worse than before.
    """

    log_loss: float
    base_log_loss: float
    roc_auc: float
    log_loss_gap: float
    calibration_error: float


class ServedQuality:
    """Progressive quality of one head's served predictions.

    Parameters
    ----------
    half_life : int
        Examples after which an example counts half in the recent log loss.
    """

    def __init__(self, half_life: int) -> None:
        self.metrics = BinaryMetrics()
        self._decay = 0.5 ** (1 / half_life)
        self._recent = self._recent_weight = 0.0

    def update(self, probability: float, label: bool) -> None:
        """Score one prediction of decision time; parameters as of `BinaryMetrics.update`."""
        self.metrics.update(probability, label)
        self._recent = self._recent * self._decay + log_loss(probability, label)
        self._recent_weight = self._recent_weight * self._decay + 1.0

    def summary(self) -> HeadQuality:
        """Return the quality as recorded in a snapshot."""
        roc_auc = self.metrics.roc_auc
        return HeadQuality(
            examples=self.metrics.examples,
            positives=self.metrics.positives,
            log_loss=self.metrics.log_loss,
            roc_auc=None if math.isnan(roc_auc) else roc_auc,
            base_log_loss=self.metrics.base_log_loss,
        )

    def report(self) -> HeadReport:
        """Return all metrics at this moment, after at least one example."""
        metrics = self.metrics
        return HeadReport(
            log_loss=metrics.log_loss,
            base_log_loss=metrics.base_log_loss,
            roc_auc=metrics.roc_auc,
            log_loss_gap=self._recent / self._recent_weight - metrics.log_loss,
            calibration_error=metrics.calibration_error(),
        )
