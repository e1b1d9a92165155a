"""The result of a progressive run for one issue."""

from msgspec import Struct

from stream_coupons.core.shopper.state import Predicted


class Scored(Struct, kw_only=True):
    """An issue, the probabilities at its moment, and its outcome.

    Attributes
    ----------
    line : int
        Line of the issue in the log.
    p_click, p_redeem, p_order : float
        Probabilities of a click, of a purchase with the coupon, and of a purchase without any.
    clicked, redeemed : bool or None
        None as long as unknown. Under the arm `none`, True if the shopper clicked or purchased all the same. A purchase
        without a click reported is no click.
    seen : bool or None
        True if a record shows that the shopper saw the coupon; None outside of `attribution.impression_domains`.
    labelled_at : float or None
        Time at which the window closed; None before.
    by_arm : dict
        The three probabilities of every arm at that moment, if they were asked for.
    worth_by_arm : dict
        Value of every arm over giving none as a decision has it, minor units, if they were asked for.
    value_minor : int or None
        Value of the order of the purchase, minor units.
    """

    line: int = 0
    issue_id: str
    user_id: str
    arm: str
    coupon_id: str
    occurred_at: float
    propensity: float | None
    p_click: float
    p_redeem: float
    p_order: float
    model_version: int
    clicked: bool | None = None
    redeemed: bool | None = None
    seen: bool | None = None
    labelled_at: float | None = None
    value_minor: int | None = None
    arms: tuple[str, ...] = ()
    by_arm: dict[str, Predicted] = {}
    worth_by_arm: dict[str, float] = {}
    context: dict[str, str | float | bool | None] = {}
