"""What a progressive run says of an issue."""

from msgspec import Struct

from stream_coupons.core.shopper.state import Predicted


class Scored(Struct, kw_only=True):
    """An issue, the probabilities at its moment, and what came of it.

    Attributes
    ----------
    line : int
        Where the issue stands in the log.
    p_click, p_redeem, p_order : float
        Of a click, of a purchase with the coupon, and of a purchase without any.
    clicked, redeemed : bool or None
        None as long as it is not known. Under the arm `none` they say that the shopper clicked or purchased all the
        same. A purchase without a click reported is no click.
    seen : bool or None
        Of a coupon: whether anything says that the shopper saw it; None where impressions are not known to be reported,
        or had not begun to be when its window closed. By all of the log once that has ended.
    labelled_at : float or None
        When the window closed: what was not known before.
    by_arm : dict
        The three probabilities of every arm at that moment, if they were asked for.
    value_minor : int or None
        Of the order that the purchase was of, minor units.
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
    context: dict[str, str | float | bool | None] = {}
