"""Write the sample logs and catalogues: `python -m examples.generate [FOLDER]`.

For each domain of `examples.domains` a folder with

- `catalog.json`: the coupons, for `catalog push` and `replay --catalog`;
- `log.jsonl`: decisions of another system and what came of them, for `evaluate`, `ope` and `tune`;
- `decisions.csv`, `decisions.toml`: the same decisions as a table, and the mapping that names its columns;
- `events.jsonl`: the first days of the same, as services would have sent it to the topics, for `replay` and `publish`;
- `README.md`: what is in them, with the ground truth.

The output depends on nothing but this folder's code, so writing it again changes no byte.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from examples.domains import DAY_S, DOMAINS, Domain, Offer
from examples.world import NONE, STARTS_AT, Decision, History, Look, Purchase, coupon_id, offers_of, play

COST_MINOR = 2
"""`policy.cost_minor` by default: what giving one coupon costs."""


def catalogue(domain: Domain) -> list[dict[str, Any]]:
    """Return the coupons of a domain as the catalogue states them."""
    return [
        _coupon(domain, category, offer)
        for category in domain.categories
        for offer in offers_of(domain, category).values()
    ]


def _coupon(domain: Domain, category: str, offer: Offer) -> dict[str, Any]:
    prices = domain.categories[category].prices.values()
    most = max(offer.discount_minor(price * max(domain.quantities)) for price in prices)
    return {
        "coupon_id": coupon_id(category, offer),
        "domain": domain.name,
        "title": f"{offer.title}: {category}",
        "kind": offer.name,
        "categories": [category],
        **({"discount_percent": offer.percent} if offer.percent else {"discount_minor": offer.amount_minor}),
        "max_discount_minor": round(most),
        "typical_price_minor": round(sum(prices) / len(prices)),
        "margin_ratio": domain.margin_ratio,
        "redeem_within_s": round(domain.window_days * DAY_S),
        "budget_minor": round(most) * 200,
        "budget_curve": "none",
        "caps": [{"per": "life", "n": 5}],
    }


def log_lines(domain: Domain, history: History) -> Iterator[dict[str, Any]]:
    """Yield the lines of the foreign log in order of time; a coupon is described where it is first given."""
    described: set[str] = set()
    coupons = {coupon["coupon_id"]: coupon for coupon in catalogue(domain)}
    for at, kind, record in _in_order(history):
        if isinstance(record, Look):
            yield {"type": "browse", "user_id": record.customer, "occurred_at": at, **_domain(domain)} | _item(record)
        elif isinstance(record, Purchase):
            yield {"type": "order", "user_id": record.look.customer, "occurred_at": at, **_domain(domain)} | _items(
                record
            )
        elif kind == "issue":
            coupon = {} if record.arm == NONE else {"coupon": {"coupon_id": record.arm}}
            if record.arm != NONE and record.arm not in described:
                described.add(record.arm)
                coupon = {"coupon": coupons[record.arm]}
            yield {
                "type": "issue",
                "issue_id": record.issue_id,
                "user_id": record.look.customer,
                "occurred_at": at,
                **({"domain": domain.name} if record.arm == NONE else {}),
                **coupon,
                "arms": list(record.propensity),
                "propensity": record.propensity[record.arm],
                # Given a coupon, the window is its redeem_within_s.
                **({"expires_at": at + round(domain.window_days * DAY_S)} if record.arm == NONE else {}),
                "context": dict(record.look.context),
            }
        else:
            worth = {"order_value_minor": record.value_minor} if kind == "purchase" else {}
            yield {"type": "feedback", "issue_id": record.issue_id, "occurred_at": at, "kind": kind, **worth}


def recording_lines(domain: Domain, history: History) -> Iterator[dict[str, Any]]:
    """Yield the first `recorded_days` of the history as messages to the topics, in order of time."""
    until = STARTS_AT + domain.recorded_days * DAY_S
    for number, (at, kind, record) in enumerate(_in_order(history)):
        if at >= until:
            return
        look = record if isinstance(record, Look) else record.look
        message: dict[str, Any] = {
            "event_id": f"{domain.name[0]}{number}",
            "user_id": look.customer,
            "occurred_at": at,
            **_domain(domain),
        }
        if isinstance(record, Look):
            yield {"topic": "browse-events", "message": message | _item(record) | {"context": dict(look.context)}}
        elif isinstance(record, Purchase):
            order = {"order_id": f"o{number}", **_items(record), "total_minor": record.value_minor}
            yield {"topic": "order-events", "message": message | order}
        elif kind == "issue":
            issue = {
                "issue_id": record.issue_id,
                "coupon_id": record.arm,
                "expires_at": at + round(domain.window_days * DAY_S),
                "propensity": record.propensity[record.arm],
                "arms": [arm for arm in record.propensity if arm != NONE],
                "context": dict(look.context),
            }
            yield {"topic": "observed-issues", "message": message | issue}
        else:
            worth = {"order_id": f"o{number}", "order_value_minor": record.value_minor} if kind == "purchase" else {}
            yield {"topic": "coupon-feedback", "message": message | {"issue_id": record.issue_id, "kind": kind} | worth}


def table(history: History) -> str:
    """Return the decisions as CSV: money in whole units, outcomes for every arm, those without a coupon too."""
    text = StringIO()
    context = list(history.decisions[0].look.context)
    names = ["decision", "customer", "sent_at", "looked_at", *context, "offer", "offers", "probability"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "clicked", "ordered", "order_value"])
    for each in history.decisions:
        look = each.look
        is_ordered = each.ordered is not None
        writer.writerow(
            [
                each.issue_id,
                look.customer,
                f"{datetime.fromtimestamp(look.at, UTC):%Y-%m-%d %H:%M:%S}",
                look.category,
                *look.context.values(),
                each.arm,
                "|".join(each.propensity),
                each.propensity[each.arm],
                int(each.clicked_at is not None),
                int(is_ordered),
                f"{each.value_minor / 100:.2f}" if is_ordered else "",
            ]
        )
    return text.getvalue()


def mapping(domain: Domain, history: History) -> str:
    """Return the mapping of that table."""
    context = json.dumps(list(history.decisions[0].look.context))
    lines = [
        f"# Names the columns of decisions.csv: decisions of the {domain.name} sample, one row each.",
        'issue = "decision"',
        'shopper = "customer"',
        'time = "sent_at"            # no zone in the cells: UTC',
        'arm = "offer"               # "none" where nothing was given',
        'arms = "offers"             # all that could be given, parted by |',
        'propensity = "probability"',
        'click = "clicked"',
        'purchase = "ordered"        # also of those who were given nothing',
        'order_value = "order_value"',
        "minor_units = 100           # cents in one unit of order_value",
        f"window_s = {round(domain.window_days * DAY_S)}           # an order counts for so long",
        f"context = {context}",
        "",
        "# What each offer is: as in catalog.json, as far as it matters here.",
    ]
    for coupon in catalogue(domain):
        lines.append(f"[coupons.{coupon['coupon_id']}]")
        fields = ("categories", "discount_percent", "discount_minor", "typical_price_minor", "margin_ratio")
        lines += [f"{name} = {json.dumps(coupon[name])}" for name in fields if name in coupon]
    return "\n".join(lines) + "\n"


def _in_order(history: History) -> list[tuple[int, str, Any]]:
    """Return everything that happened as (time, kind, record); of one moment the look first."""
    happened: list[tuple[int, str, Any]] = [(look.at, "look", look) for look in history.looks]
    happened += [(decision.look.at, "issue", decision) for decision in history.decisions]
    happened += [(d.clicked_at, "click", d) for d in history.decisions if d.clicked_at is not None]
    happened += [(purchase.at, "order", purchase) for purchase in history.purchases]
    happened += [(d.ordered.at, "purchase", d) for d in history.decisions if d.ordered is not None]
    return sorted(happened, key=lambda each: each[0])  # stable: of one moment as they stand above


def _domain(domain: Domain) -> dict[str, str]:
    return {} if domain.name == "ecommerce" else {"domain": domain.name}


def _item(look: Look) -> dict[str, Any]:
    return {"item": {"item_id": look.item, "category": look.category, "price_minor": look.price_minor}}


def _items(purchase: Purchase) -> dict[str, Any]:
    item = _item(purchase.look)["item"]
    if purchase.quantity > 1:
        item["quantity"] = purchase.quantity
    discount = {"discount_minor": purchase.discount_minor} if purchase.discount_minor else {}
    return {"items": [item], **discount}


def margin_minor(domain: Domain, decision: Decision, arm: str) -> float:
    """Return the expected margin of a decision under an arm, in minor units: the ground truth."""
    offer = offers_of(domain, decision.look.category).get(arm)
    kept = domain.margin_ratio * decision.value_minor - (offer.discount_minor(decision.value_minor) if offer else 0.0)
    return decision.p_order[arm] * kept - (COST_MINOR if offer else 0)


def ground_truth(domain: Domain, history: History) -> dict[str, tuple[float, float]]:
    """Return by policy (purchases, margin in minor units) per decision, both expected.

    `best` chooses for each decision the arm of the greatest expected margin, which only the ground truth knows.
    """
    totals = {name: [0.0, 0.0] for name in ("logged", "random", "none", "best")}
    for decision in history.decisions:
        margins = {arm: margin_minor(domain, decision, arm) for arm in decision.propensity}
        best = max(margins, key=lambda arm: margins[arm])
        weights: dict[str, dict[str, float]] = {
            "logged": dict(decision.propensity),
            "random": dict.fromkeys(margins, 1 / len(margins)),
            "none": {NONE: 1.0},
            "best": {best: 1.0},
        }
        for name, by_arm in weights.items():
            totals[name][0] += sum(weight * decision.p_order[arm] for arm, weight in by_arm.items())
            totals[name][1] += sum(weight * margins[arm] for arm, weight in by_arm.items())
    count = len(history.decisions)
    return {name: (orders / count, margin / count) for name, (orders, margin) in totals.items()}


POLICIES = {
    "logged": "the policy that made the log",
    "random": "any arm alike, `none` among them",
    "none": "never a coupon",
    "best": "the arm of the greatest expected margin, which only the ground truth knows",
}


def readme(domain: Domain, history: History) -> str:
    """Return the README of a domain's folder."""
    decisions, path = history.decisions, f"examples/{domain.name}"
    given = sum(decision.arm != NONE for decision in decisions)
    ordered = sum(decision.ordered is not None for decision in decisions)
    logged = f"{len(history.looks)} looks, {len(history.purchases)} orders, {len(decisions)} decisions"
    segments = ", ".join(domain.segments)
    has_season = any(category.season for category in domain.categories.values())
    truth = "\n".join(
        f"| {name} | {POLICIES[name]} | {orders:.3f} | {margin / 100:,.2f} |"
        for name, (orders, margin) in ground_truth(domain, history).items()
    )
    return f"""# Sample of the domain {domain.name}

**All of this is synthetic.** {domain.about}
Customers, prices and responses are made up by `python -m examples.generate`; nothing here is evidence about real
people. The rules are in [domains.py](../domains.py) and [world.py](../world.py).

| File | Holds | Read by |
|---|---|---|
| `catalog.json` | {len(catalogue(domain))} coupons | `catalog push`, `replay --catalog` |
| `log.jsonl` | {domain.days} days of another system: {logged} | `evaluate`, `ope`, `tune` |
| `decisions.csv` | The same decisions as a table; `decisions.toml` names its columns | `evaluate`, `ope` |
| `events.jsonl` | the first {domain.recorded_days} days as messages to the topics | `replay`, `publish` |

From the top folder of the clone:

```
stream-coupons evaluate {path}/log.jsonl
stream-coupons ope {path}/log.jsonl --reward margin --policy logged --policy greedy --policy random
stream-coupons tune {path}/log.jsonl --trials 5 --study {domain.name}.study
stream-coupons replay {path}/events.jsonl --catalog {path}/catalog.json
```

## How the log was made

- {domain.customers} customers belong to {len(domain.segments)} hidden segments ({segments}).
  Some would order anyway, some only with a coupon, some hardly ever. `context` hints at the segment.
- A decision chooses at random among `none` and the coupons of the category that the customer looked at, with the
  `propensity` that its line states. {given} of {len(decisions)} decisions gave a coupon.
- An order within {domain.window_days:g} days of a decision is its `purchase`, with a coupon or without one: {ordered}.
- What was bought is wanted again only later{"; demand has a season" if has_season else ""}.

## Ground truth

What one decision of this log brings on average, by policy. The margin is in whole units of the shop's currency, after
the discount and {COST_MINOR / 100:.2f} for a coupon given.

| Policy | | Orders | Margin |
|---|---|---|---|
{truth}

`ope` estimates the same from the log alone, in minor units. {len(decisions)} decisions are few: its intervals are wide.
`evaluate` shows P(redeem) better than the base rate; of the others it has less to go by.
"""


def files(domain: Domain) -> dict[str, str]:
    """Return the text of every file of a domain's folder, by name."""
    history = play(domain)
    coupons = ",\n".join(f"  {json.dumps(coupon)}" for coupon in catalogue(domain))
    return {
        "catalog.json": f"[\n{coupons}\n]\n",
        "log.jsonl": _json_lines(log_lines(domain, history)),
        "decisions.csv": table(history),
        "decisions.toml": mapping(domain, history),
        "events.jsonl": _json_lines(recording_lines(domain, history)),
        "README.md": readme(domain, history),
    }


def _json_lines(records: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)


def main(folder: Path) -> None:
    """Write all files of all domains."""
    for domain in DOMAINS.values():
        target = folder / domain.name
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files(domain).items():
            (target / name).write_text(text, encoding="utf-8")
            print(f"{target / name}: {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
