"""Which domains of a log report impressions, as far as the log had shown it by some moment."""

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
        self._domains: set[str] = set()
        self.responses: Counter[str] = Counter()
        """Windows that closed with a click or a purchase, by domain."""
        self.responses_unseen: Counter[str] = Counter()
        """Those of them without an impression."""

    def add(self, issue_id: str, domain: str) -> None:
        """An impression of an issue whose window is open."""
        self._seen.add(issue_id)
        self._domains.add(domain)

    def close(self, issue_id: str, domain: str, *, has_response: bool) -> None:
        """The window of a coupon has closed."""
        if has_response:
            self.responses[domain] += 1
            self.responses_unseen[domain] += issue_id not in self._seen
        self._seen.discard(issue_id)

    @property
    def doubtful(self) -> frozenset[str]:
        """Domains with impressions, but without them for too many of those who clicked or bought."""
        return frozenset(self._domains - self.reported)

    @property
    def reported(self) -> frozenset[str]:
        """Domains in which a coupon without an impression was not seen."""
        return frozenset(
            domain for domain in self._domains if self.responses_unseen[domain] <= MOST_WITHOUT * self.responses[domain]
        )
