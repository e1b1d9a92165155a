"""The most that can be spent of each budget in a file, stated before it is published."""

from collections.abc import Iterable

from msgspec import Struct

from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.money.accounts import Accounts


class SpendingBound(Struct, frozen=True):
    """The most that can be spent of a budget, minor units: every coupon that is open at a time is used.

    Attributes
    ----------
    account_id : str
        `money:` and the id of a coupon, or `campaign:` and that of a campaign.
    """

    account_id: str
    budget_minor: int
    worst_minor: int

    def __str__(self) -> str:
        """Return the worst case in words."""
        beyond = self.worst_minor - self.budget_minor
        return f"at most {self.worst_minor} can be spent of {self.account_id}, {beyond} beyond its budget_minor"


def worst_cases(entries: Iterable[Coupon | Campaign]) -> list[SpendingBound]:
    """Return the worst case of each budget with quantile holds; one that holds the maximum is never overspent.

    Parameters
    ----------
    entries : iterable of Coupon or Campaign
        Entries as they are published.

    Examples
    --------
    >>> [str(one) for one in worst_cases([Campaign(campaign_id="spring", budget_minor=2000)])]
    ['at most 2100 can be spent of campaign:spring, 100 beyond its budget_minor']
    """
    made = [Accounts((entry,)) if isinstance(entry, Coupon) else Accounts((), (entry,)) for entry in entries]
    limits = [limit for each in made for limit in each.limits.values() if limit.hold == "quantile"]
    return [
        SpendingBound(limit.account_id, limit.most, limit.worst)
        for limit in limits
        if limit.most is not None and limit.worst is not None
    ]
