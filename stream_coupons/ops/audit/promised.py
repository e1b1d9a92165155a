"""The rules and the secret that an audit judges by, and since when the workers have had them."""

import math
from dataclasses import dataclass

from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.rules import Rules


@dataclass(frozen=True, slots=True)
class PromisedRules:
    """Rules of the workers, with the secret of their draws.

    Attributes
    ----------
    since_ms : float
        Epoch milliseconds since which the workers run with these settings; infinite if the settings are not known.
    key_since_ms : float
        Epoch milliseconds since which they draw by this key; infinite if the key is not known.
    """

    rules: Rules
    since_ms: float = 0.0
    key_since_ms: float = 0.0

    @property
    def both_since_ms(self) -> float:
        """Time since which settings and key are both known, epoch milliseconds."""
        return max(self.since_ms, self.key_since_ms)


UNKNOWN_RULES = PromisedRules(Rules(key=PUBLIC_KEY), math.inf, math.inf)
"""Nothing is judged by settings or secret."""
