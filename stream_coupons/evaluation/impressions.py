"""Which domains of a log report impressions, as far as the log had shown it by some moment."""

import math
from collections import Counter

MOST_WITHOUT = 0.1
"""The largest share of responses without an impression at which silence still says that nothing was seen.

Where a share w of what is seen goes unreported, its responses are learnt and its silence is not: that makes
probabilities too high by a factor of 1 / (1 - w) at most, 1.11 with a tenth. If more is missing, some channel does not
report at all, and its coupons would all be taken for successes.
"""


class Impressions:
    """Impressions and responses of a log, domain by domain, as they come."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._first_at: dict[str, float] = {}
        self.responses: Counter[str] = Counter()
        """Coupons given since the first impression of their domain that were clicked or used, by domain."""
        self.responses_unseen: Counter[str] = Counter()
        """Those of them without an impression."""

    def add(self, issue_id: str, domain: str, at: float) -> None:
        """Take in an impression, at some time, of an issue whose window is open."""
        self._seen.add(issue_id)
        self._first_at.setdefault(domain, at)

    def close(self, issue_id: str, domain: str, issued_at: float, *, has_response: bool) -> None:
        """Take in that the window of a coupon has closed.

        One that was given before anything was reported says nothing of what is reported since.
        """
        if has_response and issued_at >= self._first_at.get(domain, math.inf):
            self.responses[domain] += 1
            self.responses_unseen[domain] += issue_id not in self._seen
        self._seen.discard(issue_id)

    @property
    def doubtful(self) -> frozenset[str]:
        """Domains with impressions, but without them for too many of those who clicked or bought."""
        return frozenset(self._first_at.keys() - self.reported)

    @property
    def reported(self) -> frozenset[str]:
        """Domains in which a coupon without an impression was not seen."""
        return frozenset(
            domain
            for domain in self._first_at
            if self.responses_unseen[domain] <= MOST_WITHOUT * self.responses[domain]
        )
