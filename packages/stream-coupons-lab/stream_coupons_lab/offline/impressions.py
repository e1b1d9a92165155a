"""The domains of a log that report impressions, as far as the log has shown it by some moment."""

import math
from collections import Counter, defaultdict

MOST_WITHOUT = 0.1
"""The largest share of responses without an impression at which silence still means that nothing was seen.

Where a share w of what is seen goes unreported, its responses are learnt and its silence is not: that makes
probabilities too high by a factor of 1 / (1 - w) at most, 1.11 with a tenth. If more is missing, some channel does not
report at all, and its coupons would all be taken for successes.

It is the mean over shoppers of their own shares. Few of them, programs as a rule, click on all that they are sent, seen
or not: where these are 4 %, a sixth of all responses may lack an impression, while the mean share is a twentieth.
"""


class _Shares:
    """Responses of a domain's shoppers, and their shares without an impression."""

    def __init__(self) -> None:
        self._of: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self._sum = 0.0

    def add(self, user_id: str, *, is_unseen: bool) -> None:
        """Take in a response."""
        responses, unseen = self._of[user_id]
        before = unseen / responses if responses else 0.0
        responses, unseen = responses + 1, unseen + is_unseen
        self._of[user_id] = responses, unseen
        self._sum += unseen / responses - before

    @property
    def mean(self) -> float:
        """The mean share without an impression; 0 without responses."""
        return self._sum / len(self._of) if self._of else 0.0


class Impressions:
    """Impressions and responses of a log, domain by domain, as they come."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._first_at: dict[str, float] = {}
        self._shares: defaultdict[str, _Shares] = defaultdict(_Shares)
        self.responses: Counter[str] = Counter()
        """Coupons given since the first impression of their domain that were clicked or used, by domain."""
        self.responses_unseen: Counter[str] = Counter()
        """Coupons of `responses` without an impression."""

    def add(self, issue_id: str, domain: str, at: float) -> None:
        """Take in an impression, at some time, of an issue whose window is open."""
        self._seen.add(issue_id)
        self._first_at.setdefault(domain, at)

    def close(self, issue_id: str, user_id: str, domain: str, issued_at: float, *, has_response: bool) -> None:
        """Take in that the window of a coupon has closed.

        One that was given before anything was reported is no evidence of later reporting.
        """
        if has_response and issued_at >= self._first_at.get(domain, math.inf):
            is_unseen = issue_id not in self._seen
            self.responses[domain] += 1
            self.responses_unseen[domain] += is_unseen
            self._shares[domain].add(user_id, is_unseen=is_unseen)

    def known(self, issue_id: str, domain: str, closed_at: float, *, has_response: bool) -> bool | None:
        """Return whether a coupon whose window has closed was seen, by all that was taken in; None where unknown."""
        if domain not in self.reported or closed_at < self._first_at[domain]:
            return None
        return has_response or issue_id in self._seen

    @property
    def doubtful(self) -> frozenset[str]:
        """Domains with impressions, but without them for too many of those who clicked or bought."""
        return frozenset(self._first_at.keys() - self.reported)

    @property
    def reported(self) -> frozenset[str]:
        """Domains in which a coupon without an impression was not seen."""
        return frozenset(domain for domain in self._first_at if self._shares[domain].mean <= MOST_WITHOUT)
