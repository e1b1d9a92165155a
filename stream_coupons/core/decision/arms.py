"""Arms of the live measurement of lift: the shoppers who may get coupons, and those who get none."""

from stream_coupons.core.decision.policy import Draw, draw, is_holdout
from stream_coupons.core.decision.scoring import Knowledge

BRAKED = Draw(is_control=True, is_explored=False, arm=0.0)
"""Draw of a trigger of a shopper whom the brake leaves out."""


def is_braked(user_id: str, domain: str, known: Knowledge) -> bool:
    """Return True if the shopper gets no coupon because the lift of the domain lies below zero.

    A drawn few, `LiftBrake.given_ratio` of the shoppers, go on getting coupons: they show whether coupons earn again.

    Parameters
    ----------
    user_id, domain : str
        The shopper and the domain of the decision.
    known : Knowledge
        The domain's brake, and the secret.
    """
    brake = known.brake(domain)
    return brake.is_on and known.rules.key.uniform("lift probe", user_id) >= brake.given_ratio


def is_without(user_id: str, domain: str, known: Knowledge) -> bool | None:
    """Return True if the shopper is in the arm without coupons; parameters as of `is_braked`.

    While the domain is braked, the few who get coupons are compared with the others who got some before. The holdout
    is in neither arm then (None): it has another past.
    """
    if is_holdout(user_id, known.rules.policy, known.rules.key):
        return None if known.brake(domain).is_on else True
    return is_braked(user_id, domain, known)


def draw_in_arm(user_id: str, domain: str, trigger: str, known: Knowledge) -> Draw:
    """Return the draw of a trigger, which gives no coupon to a shopper whom the brake leaves out.

    Parameters
    ----------
    user_id, domain, known
        As of `is_braked`.
    trigger : str
        Identity of the trigger.
    """
    # The brake first: it is mostly off, and then no hash is drawn.
    is_left_out = is_braked(user_id, domain, known) and not is_holdout(user_id, known.rules.policy, known.rules.key)
    return BRAKED if is_left_out else draw(trigger, known.rules.policy, known.rules.key)
