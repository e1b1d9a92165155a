"""What stands in best for what events lack, on simulated shoppers.

    python -m benchmarks.missing
    python -m benchmarks.missing --field price --lacking 0.8 --json
    python -m benchmarks.missing --journey

Every world is played in one process by random choice, so all policies see the same events and give the same coupons;
only what the profiles make of the events differs. The simulation lacks 5 % of prices, 3 % of categories and 4 % of
brands; here `--lacking` of a field are taken out of what is left, by a hash of event and place.

Reported are, for each policy, the log loss and ROC AUC of P(click) and P(redeem) over the second half of the days, as
predicted when the coupon was given, and the gain in log loss over the default with a 95 % interval of a paired
bootstrap over shoppers, all seeds together. For prices also how far a stand-in lies from the price that was taken out,
in octaves: the mean of |log2(stand-in / price)|, and the share of those taken out for which there was one.
`--journey` reports only that, for the order lines of the Complete Journey's households: real prices.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec
import numpy as np
from rich.table import Table

from stream_coupons.cli.terminal import fraction_progress, stdout
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item, OrderEvent
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.rules import LabelPolicy, MissingPolicy, ProfileRules
from stream_coupons.core.shopper.imputation import fill_number, remember
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.records import Output
from stream_coupons.lab.datasets import completejourney
from stream_coupons.lab.demo.shoppers import SLICE_S, settings_for_shoppers
from stream_coupons.lab.simulation.shoppers import World, WorldSettings
from stream_coupons.lab.tuning.objective import Comparison, Metric, Sample, compare
from stream_coupons.settings import Settings
from stream_coupons.testing.local import LocalPipeline

POLICIES: dict[str, tuple[str, ...]] = {
    "price": get_args(MissingPolicy),
    "category": get_args(LabelPolicy),
    "brand": get_args(LabelPolicy),
}
ITEM_FIELD = {"price": "price_minor", "category": "category", "brand": "brand"}
HEADS = ("click", "redeem")


@dataclass
class Stand:
    """How far the stand-ins for prices were from the prices that were taken out."""

    policy: MissingPolicy
    recent_prices: int
    taken: int = 0
    octaves: list[float] = field(default_factory=list)
    _known: defaultdict[str, tuple[list[float], list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: ([], []))
    )

    @property
    def mean_octaves(self) -> float | None:
        """Of all that were filled in."""
        return float(np.mean(self.octaves)) if self.octaves else None

    @property
    def filled(self) -> float | None:
        """Share of what was taken out for which there was a stand-in."""
        return len(self.octaves) / self.taken if self.taken else None

    def forget_shoppers(self) -> None:
        """Another world has others of the same names."""
        self._known.clear()

    def see(self, user_id: str, at: float, price_minor: int | None, *, is_taken: bool) -> None:
        """One price of the simulation, as it was."""
        times, prices = self._known[user_id]
        if price_minor is None:
            return
        if not is_taken:
            remember(times, prices, at, float(price_minor), self.recent_prices)
            return
        self.taken += 1
        filled = fill_number(times, prices, at, self.policy)
        if filled is not None:
            self.octaves.append(abs(float(np.log2(max(filled, 1.0) / max(price_minor, 1)))))


def lacking(event: Any, name: str, share: float, stand: Stand | None) -> Any:
    """An event of the simulation without some values of a field."""
    if not isinstance(event, BrowseEvent | CartEvent | OrderEvent):
        return event
    items = event.items if isinstance(event, OrderEvent) else [event.item] if event.item is not None else []
    left: list[Item] = []
    for place, item in enumerate(items):
        is_taken = PUBLIC_KEY.uniform(event.event_id, str(place), name) < share
        if stand is not None:
            stand.see(event.user_id, event.occurred_at, item.price_minor, is_taken=is_taken)
        left.append(msgspec.structs.replace(item, **{ITEM_FIELD[name]: None}) if is_taken else item)
    if isinstance(event, OrderEvent):
        return msgspec.structs.replace(event, items=left)
    return msgspec.structs.replace(event, item=left[0]) if left else event


def play(
    world_settings: WorldSettings, settings: Settings, name: str, share: float, stand: Stand | None
) -> list[TrainingExample]:
    """The examples of a world that is played by random choice."""
    world, issues, examples = World(world_settings), list[CouponIssue](), list[TrainingExample]()
    decode_issue, decode_example = Decoder(topics.ISSUES), Decoder(topics.EXAMPLES)

    def take(output: Output) -> None:
        if output.topic == topics.ISSUES.name:
            issues.append(decode_issue(output.value))
        elif output.topic == topics.EXAMPLES.name:
            examples.append(decode_example(output.value))

    pipeline = LocalPipeline(settings, world.catalogue(), on_output=take)
    while world.now < world.ends_at:
        for topic, event in world.advance(min(world.now + SLICE_S, world.ends_at)):
            pipeline.send(topic, lacking(event, name, share, stand))
        pipeline.tick(world.now)
        for issue in issues:
            world.receive(issue)
        issues.clear()
    return examples


def sample(examples: Sequence[TrainingExample], head: str, since: float, seed: int) -> dict[str, np.ndarray]:
    """Columns of a `Sample` of one world, in the order of the issues' ids."""
    kept = sorted(
        (each for each in examples if each.head == head and each.decided_at >= since), key=lambda each: each.issue_id
    )
    return {
        "users": np.array([f"{seed}/{each.user_id}" for each in kept], np.str_),
        "at": np.array([each.decided_at for each in kept]),
        "known_at": np.array([each.at for each in kept]),
        "probabilities": np.array([each.predicted for each in kept]),
        "labels": np.array([float(each.label) for each in kept]),
    }


def together(parts: Sequence[dict[str, np.ndarray]]) -> Sample:
    """Samples of several worlds as one."""
    return Sample(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


@dataclass(frozen=True)
class Tried:
    """What a policy came to."""

    policy: str
    samples: dict[str, Sample]
    octaves: float | None
    filled: float | None


def journey(share: float, households: int) -> list[dict[str, Any]]:
    """How far stand-ins lie from prices of the Complete Journey that are taken out."""
    stands = [Stand(policy, ProfileRules().recent_prices) for policy in get_args(MissingPolicy)]
    for _, event in completejourney.load(negatives_ratio=0.0, households=households).events():
        if isinstance(event, OrderEvent):
            for stand in stands:
                lacking(event, "price", share, stand)
    return [
        {"field": "price", "policy": stand.policy, "octaves": stand.mean_octaves, "filled": stand.filled}
        for stand in stands
    ]


def tried(name: str, policy: str, options: argparse.Namespace) -> Tried:
    """Play all worlds under one policy."""
    profile = msgspec.convert({f"missing_{name}": policy}, ProfileRules)
    base = settings_for_shoppers(Settings(profile=profile))
    settings = msgspec.structs.replace(base, policy=msgspec.structs.replace(base.policy, strategy="random"))
    parts: dict[str, list[dict[str, np.ndarray]]] = {head: [] for head in HEADS}
    stand = Stand(profile.missing_price, profile.recent_prices) if name == "price" else None
    for seed in range(1, options.seeds + 1):
        world = WorldSettings(seed=seed, shoppers=options.shoppers, days=options.days)
        if stand is not None:
            stand.forget_shoppers()
        examples = play(world, settings, name, options.lacking, stand)
        for head in HEADS:
            parts[head].append(sample(examples, head, world.start_at + options.days / 2 * 86400.0, seed))
    samples = {head: together(parts[head]) for head in HEADS}
    return Tried(policy, samples, stand.mean_octaves if stand else None, stand.filled if stand else None)


def rows(name: str, found: Sequence[Tried]) -> Iterator[dict[str, Any]]:
    """A row of the table for every policy."""
    default = getattr(ProfileRules(), f"missing_{name}")
    [base] = [each for each in found if each.policy == default]
    for each in found:
        row: dict[str, Any] = {"field": name, "policy": each.policy, "octaves": each.octaves, "filled": each.filled}
        for head in HEADS:
            mine = each.samples[head]
            gain: Comparison = compare(base.samples[head], mine, Metric.LOG_LOSS)
            row |= {
                f"{head} examples": len(mine.labels),
                f"{head} positives": int(mine.labels.sum()),
                f"{head} log loss": mine.quality(Metric.LOG_LOSS),
                f"{head} ROC AUC": mine.quality(Metric.ROC_AUC),
                f"{head} gain": [gain.gain.value, gain.gain.low, gain.gain.high],
            }
        yield row


def table(found: Sequence[dict[str, Any]]) -> Table:
    """The rows for people."""
    columns = [name for name in found[0] if name not in ("field", "policy")]
    shown = Table("field", "policy", *columns)
    for row in found:
        cells = []
        for column in columns:
            value = row[column]
            if isinstance(value, list):
                cells.append(f"{value[0]:+.5f} ({value[1]:+.5f}, {value[2]:+.5f})")
            else:
                cells.append("" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
        shown.add_row(row["field"], row["policy"], *cells)
    return shown


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--field", choices=sorted(POLICIES), action="append", help="may be repeated; all, if not given")
    parser.add_argument("--lacking", type=float, default=0.5, help="share of the field that is taken out")
    parser.add_argument("--shoppers", type=int, default=300)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--journey", action="store_true", help="prices of the Complete Journey instead")
    parser.add_argument("--households", type=int, default=300, help="of the Complete Journey")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = journey(options.lacking, options.households) if options.journey else ablation(options)
    if options.json:
        stdout().print_json(json.dumps(found))
    else:
        stdout().print(table(found))


def ablation(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of every policy of the fields asked for."""
    plan = [(name, policy) for name in options.field or POLICIES for policy in POLICIES[name]]
    results: defaultdict[str, list[Tried]] = defaultdict(list)
    with fraction_progress("playing", len(plan)) as progress:
        for name, policy in plan:
            results[name].append(tried(name, policy, options))
            progress.update(progress.task_ids[0], advance=1)
    return [row for name, each in results.items() for row in rows(name, each)]


if __name__ == "__main__":
    main()
