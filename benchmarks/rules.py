"""CPU that 200 eligibility rules add to a decision, against the same catalogue without rules.

    python -m benchmarks.rules
    python -m benchmarks.rules --coupons 200 --rounds 60 --batch 1 10 100

Every coupon has a rule of its own, which is true, so that the same candidates are scored with rules and without. Both
take turns on copies of the same shoppers. The ratio is the median over rounds, with a 95 % interval by bootstrap.
"""

import argparse
import copy
import time

import numpy as np

from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.pipeline import Times, decide, take_in
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.decision.table import Trigger
from stream_coupons.core.messages.inputs import BrowseEvent
from stream_coupons.core.shopper.state import Shopper
from stream_coupons.models.linear import prior
from stream_coupons.secret import rules_of
from stream_coupons.testing import START, browse, coupon, item, plain_settings

FORMS = (
    'shopper.days_since_order >= {n} && !("staff-{n}" in shopper.segments)',
    'shopper.orders < {m} && trigger.kind != "k{n}"',
    'trigger.context.device != "d{n}" && trigger.price_minor <= {m}',
    "shopper.coupons_received <= {m} || trigger.category in coupon.categories",
)
CATEGORIES = 20
SHOPPERS = 100
EVENTS_BEFORE = 12


def catalogue(count: int, *, has_rules: bool) -> Catalogue:
    """Return a catalogue, with a rule for each coupon or without any."""
    return Catalogue(
        coupon(
            f"c{n}",
            categories=[f"cat{n % CATEGORIES}"],
            eligible_if=FORMS[n % len(FORMS)].format(n=n, m=10_000 + n) if has_rules else "",
        )
        for n in range(count)
    )


def visits(known: Knowledge, random: np.random.Generator) -> list[Shopper]:
    """Return shoppers with some history."""
    shoppers = []
    for number in range(SHOPPERS):
        shopper = Shopper()
        for n in range(EVENTS_BEFORE):
            take_in(f"u{number}", shopper, event(number, n, random), known)
        shoppers.append(shopper)
    return shoppers


def event(number: int, n: int, random: np.random.Generator) -> BrowseEvent:
    """Return a view of some item."""
    category = int(random.integers(CATEGORIES))
    what = item(f"i{category}", category=f"cat{category}", price_minor=int(random.integers(100, 5000)))
    context = {"device": "phone", "segments": "vip, student"}
    return browse(f"u{number}", what, at=START + 60.0 * n, event_id=f"e{number}-{n}", context=context)


def seconds(known: Knowledge, shoppers: list[Shopper], events: list[BrowseEvent], batch: int) -> tuple[float, int]:
    """Return the CPU of deciding all events, and the number of decisions."""
    copies, decided = copy.deepcopy(shoppers), 0
    begin = time.process_time()
    for start in range(0, len(copies), batch):
        pairs = zip(copies[start : start + batch], events[start : start + batch], strict=True)
        taken = [take_in(one.user_id, shopper, one, known, Times()) for shopper, one in pairs]
        triggers = [one for one in taken if isinstance(one, Trigger)]
        decided += len(decide(triggers, known))
    return time.process_time() - begin, decided


def compare(count: int, batch: int, rounds: int) -> str:
    """Return a line on one size of batch."""
    random, settings = np.random.default_rng(7), rules_of(plain_settings())
    known = [Knowledge(settings, catalogue(count, has_rules=has), {}, prior()) for has in (False, True)]
    shoppers = visits(known[0], random)
    events = [event(number, 5000, random) for number in range(SHOPPERS)]
    spent = []
    for nth in range(rounds + 1):
        order = (0, 1) if nth % 2 else (1, 0)
        both = {which: seconds(known[which], shoppers, events, batch) for which in order}
        if both[0][1] != both[1][1] or not both[0][1]:
            raise SystemExit("the rules excluded a coupon, expected all of them to be true")
        spent.append([both[which][0] / both[which][1] for which in (0, 1)])
    table = np.array(spent[1:])  # the first one compiles
    ratios = table[:, 1] / table[:, 0]
    draws = np.median(random.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    plain, ruled = np.median(table, axis=0) * 1e6
    interval = f"{np.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    return f"batch {batch:4}: {plain:7.0f} us without, {ruled:7.0f} with, ratio {interval}"


def main() -> None:
    """Print a line for each size of batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coupons", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 10, 100])
    given = parser.parse_args()
    for batch in given.batch:
        print(compare(given.coupons, batch, given.rounds), flush=True)


if __name__ == "__main__":
    main()
