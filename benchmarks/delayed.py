"""Compare the delayed-feedback base rates with a redeem rate that the catalogue states.

    python -m benchmarks.delayed logs --seeds 1 2 3
    python -m benchmarks.delayed journey --households 800
    python -m benchmarks.delayed simulator --seeds 1 2 3 --shoppers 300 --days 15

Arms: `feedback` is the product; `labels` learns labels only; the others learn labels only and know an expected redeem
ratio of each coupon: the true one, twice and half of it, or for all coupons the mean of the shop. The ratio sets the
prior mean of the coupon's own weight, so that the prior states it for the coupon at a neutral share of interest.

Every figure is an arm less `labels`, with the 95 % interval by Student's t over logs or worlds, or by a bootstrap over
households. Logs: mean log loss, and the distance of the mean prediction from the mean label as a logarithm. The true
ratio of a journey's coupon is its own in hindsight, drawn to the mean of all by 20 issues: no shop can know it.
"""

import argparse
import json
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from stream_coupons.core.decision.candidates import unpack

from examples.domains import DOMAINS
from examples.generate import log_lines
from examples.world import NONE
from examples.world import play as play_domain
from stream_coupons.core.catalogue.compiled import CouponSet
from stream_coupons.core.catalogue.coupon_terms import PRIOR_DEPTH_RATIO
from stream_coupons.core.features import rows as feature_rows
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.learning import OpenDecision, TrainingExample
from stream_coupons.core.shopper.profile import DAY_S
from stream_coupons.lab.datasets import completejourney
from stream_coupons.lab.datasets.foreign import ForeignLog, take_all
from stream_coupons.lab.demo.play import play_scorer
from stream_coupons.lab.offline.direct import DirectPipeline
from stream_coupons.lab.offline.progressive_run import run
from stream_coupons.lab.offline.quality import judged
from stream_coupons.lab.recordings import lines
from stream_coupons.lab.simulation.shoppers import World, WorldSettings
from stream_coupons.models import linear
from stream_coupons.models.learner import DomainModel, Trainer
from stream_coupons.settings import Settings

Ratios = Mapping[str, float]
Floats = NDArray[np.float64]

PRICE_MINOR = 1000.0
HASHED_DRAW = 20.0
"""Issues by which a coupon's ratio is drawn to the mean of all."""
LEAST, MOST = 0.002, 0.95
ANYWAY, USED = linear.PRIOR_RATE["demand"], 0.6
START_AT = 1_767_225_600.0
CATEGORIES = ("tea", "wine", "soap", "toys")
HEADS = ("click", "redeem", "order")
HEAD = "redeem"
"""The only label of the journey."""


def log_odds(p: float) -> float:
    """Return the log-odds of a probability within `LEAST` and `MOST`."""
    p = min(max(p, LEAST), MOST)
    return math.log(p / (1 - p))


def arms_of(truth: Ratios, mean: float) -> dict[str, Ratios | None]:
    """Return the expected ratios of each arm; None: the product with delayed feedback."""
    return {
        "feedback": None,
        "labels": {},
        "true": truth,
        "twice": {name: 2 * ratio for name, ratio in truth.items()},
        "half": {name: ratio / 2 for name, ratio in truth.items()},
        "mean": dict.fromkeys(truth, mean),
    }


@contextmanager
def knowing(coupons: Iterable[Coupon], expected: Ratios | None) -> Iterator[None]:
    """Let new models learn without delayed feedback and start from these ratios; with None change nothing."""
    if expected is None:
        yield
        return
    by_index: dict[str, dict[int, float]] = {"redeem": {}, "effect": {}}
    by_domain: defaultdict[str, list[Coupon]] = defaultdict(list)
    for coupon in coupons:
        by_domain[coupon.domain].append(coupon)
    for each in by_domain.values():
        compiled = CouponSet(each, PRICE_MINOR)
        ids = compiled.static_hashes[:, 0]
        of_terms = np.ones(len(ids), np.bool_)
        places = feature_rows.places_of(
            feature_rows._mix(ids, np.ones_like(ids), of_terms, feature_rows._ALONE_GROUPS[0])
        )
        for place, coupon, numbers in zip(places.tolist(), compiled.coupons, compiled.static_numeric, strict=True):
            if coupon.coupon_id in expected:
                ratio, deeper = expected[coupon.coupon_id], float(numbers[0]) - PRIOR_DEPTH_RATIO
                for head, wanted in (("redeem", ratio), ("effect", (ratio - USED * ANYWAY) / (1 - ANYWAY))):
                    prior = log_odds(linear.PRIOR_RATE[head]) + linear.PRIOR_WEIGHTS[head]["discount_depth"] * deeper
                    by_index[head][int(place)] = log_odds(wanted) - prior
    weights, watch = linear.prior_weights, DomainModel.watch
    linear.prior_weights = lambda head: weights(head) | by_index.get(head, {})

    def ignore(model: DomainModel, decision: OpenDecision) -> bool:
        model.at = max(model.at, decision.at)
        return False

    DomainModel.watch = ignore  # type: ignore[method-assign]
    linear.prior_array.cache_clear()
    try:
        yield
    finally:
        linear.prior_weights, DomainModel.watch = weights, watch  # type: ignore[method-assign]
        linear.prior_array.cache_clear()


def shop(seed: int) -> tuple[ForeignLog, dict[str, float]]:
    """Return a log of three weeks of a shop with a rate and delays of its own, and the true ratio by coupon."""
    rng = random.Random(f"shop {seed}")
    level, window_s = rng.uniform(log_odds(0.02), log_odds(0.5)), rng.choice((3, 5, 7)) * DAY_S
    median, spread = math.exp(rng.uniform(math.log(1 / 64), math.log(1 / 2))), rng.uniform(0.5, 1.3)
    coupons = [
        {"coupon_id": f"c{n}", "categories": [CATEGORIES[n % 4]], "discount_percent": 5.0 * rng.randint(1, 6)}
        for n in range(12)
    ]
    appeal = [rng.gauss(0.0, 0.5) for _ in coupons]
    likes = [[rng.gauss(0.0, 1.0) for _ in CATEGORIES] for _ in range(150)]
    chances: defaultdict[str, list[float]] = defaultdict(list)
    records: list[dict[str, Any]] = []
    for number in range(2000):
        at, shopper = START_AT + rng.uniform(0.0, 21 * DAY_S), rng.randrange(len(likes))
        who = {"user_id": f"u{shopper}"}
        category = rng.choices(range(4), [math.exp(like) for like in likes[shopper]])[0]
        item = {"item_id": f"{CATEGORIES[category]}-1", "category": CATEGORIES[category], "price_minor": 1000}
        records.append({"type": "browse", "occurred_at": at - 60, "item": item, **who})
        arm = rng.randrange(-2, len(coupons))
        z = level + likes[shopper][category if arm < 0 else arm % 4]
        if arm >= 0:
            z += appeal[arm] + 3.0 * (coupons[arm]["discount_percent"] / 100 - 0.15)
        chance = 1 / (1 + math.exp(-(z - 1.0 if arm < 0 else z)))
        issue = {"type": "issue", "issue_id": f"i{number}", "occurred_at": at, "expires_at": at + window_s, **who}
        records.append({**issue, "coupon": coupons[arm] if arm >= 0 else None})
        if arm >= 0:
            chances[f"c{arm}"].append(chance)
        is_bought = rng.random() < chance
        delay = window_s * median * math.exp(spread * rng.gauss(0.0, 1.0))
        answer = {"type": "feedback", "issue_id": f"i{number}"}
        if arm >= 0 and (is_bought or rng.random() < 0.1):
            records.append({**answer, "kind": "click", "occurred_at": at + min(delay, window_s) / 4})
        if is_bought and delay < window_s:
            records.append({**answer, "kind": "purchase", "occurred_at": at + delay})
            records.append({"type": "order", "occurred_at": at + delay, "items": [item], **who})
    end = START_AT + 40 * DAY_S
    records.append({"type": "browse", "user_id": "last", "occurred_at": end, "item": {"item_id": "x"}})
    records.sort(key=lambda record: float(record["occurred_at"]))
    return _read(records), {name: float(np.mean(each)) for name, each in chances.items()}


def example(name: str, seed: int) -> tuple[ForeignLog, dict[str, float]]:
    """Return another draw of a sample log, with three times its customers, and the true ratio by coupon."""
    domain = DOMAINS[name]
    domain = replace(domain, seed=1000 + seed, customers=3 * domain.customers)
    history = play_domain(domain)
    chances: defaultdict[str, list[float]] = defaultdict(list)
    for decision in history.decisions:
        if decision.arm != NONE:
            chances[decision.arm].append(decision.p_order[decision.arm])
    return _read(log_lines(domain, history)), {arm: float(np.mean(each)) for arm, each in chances.items()}


def _read(records: Iterable[Mapping[str, Any]]) -> ForeignLog:
    return take_all(lines(json.dumps(record).encode() for record in records), "drawn")


LOGS: Mapping[str, Callable[[int], tuple[ForeignLog, dict[str, float]]]] = {
    "shops": shop,
    **{name: lambda seed, name=name: example(name, seed) for name in DOMAINS},  # type: ignore[misc]
}


def losses(predicted: Floats, label: Floats) -> Floats:
    """Return the log loss of each prediction."""
    p = np.clip(predicted, 1e-6, 1 - 1e-6)
    return -label * np.log(p) - (1 - label) * np.log1p(-p)


def figures(predicted: Floats, label: Floats) -> tuple[float, float]:
    """Return the mean log loss, and the logarithm of mean prediction over mean label, without its sign."""
    loss = float(losses(predicted, label).mean())
    return loss, abs(math.log((predicted.mean() + 1e-6) / (label.mean() + 0.5 / len(label))))


def of_log(log: ForeignLog, truth: Ratios) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the figures by arm, then by head and part of the log."""
    mean = sum(truth.values()) / len(truth)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name, expected in arms_of(truth, mean).items():
        with knowing(log.coupons, expected):
            scored = run(log, Settings())
        first, last = scored[0].occurred_at, scored[-1].occurred_at
        found[name] = {}
        for one in judged(scored, HEADS):
            at = np.array([issue.occurred_at for issue in one.issues])
            for part, some in (("first third", at < first + (last - first) / 3), ("all", at < math.inf)):
                found[name][f"{one.head}, {part}"] = figures(one.probabilities[some], one.labels[some].astype(float))
    return found


def estimate(differences: Sequence[float]) -> str:
    """Return a mean with its interval by Student's t."""
    values = np.array(differences)
    if len(values) < 2:
        return f"{values.mean():+.4f}"
    reach = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return f"{values.mean():+.4f} ({values.mean() - reach:+.4f}, {values.mean() + reach:+.4f})"


def show_differences(title: str, found: Sequence[Mapping[str, Mapping[str, Sequence[float]]]]) -> None:
    """Print each arm less `labels`, paired over logs or worlds."""
    print(f"\n{title}, {len(found)}")
    for part in found[0]["labels"]:
        for measure in range(len(found[0]["labels"][part])):
            of_labels = [each["labels"][part][measure] for each in found]
            print(f"  {part} [{measure}]: labels {np.mean(of_labels):.4f}")
            for name in (name for name in found[0] if name != "labels"):
                both = [each for each in found if name in each]
                more = [each[name][part][measure] - each["labels"][part][measure] for each in both]
                print(f"    {name:<10}{estimate(more)}  [{len(both)}]", flush=True)


def compare_logs(options: argparse.Namespace) -> None:
    """Print the figures of all kinds of logs."""
    for kind in options.kinds:
        show_differences(kind, [of_log(*LOGS[kind](seed)) for seed in options.seeds])


def recorded(journey: completejourney.CompleteJourney) -> list[OpenDecision | TrainingExample]:
    """Return what the learner reads of the year, in order."""
    kept: list[OpenDecision | TrainingExample] = []

    def take(message: object) -> None:
        if isinstance(message, OpenDecision) or (isinstance(message, TrainingExample) and message.head == HEAD):
            kept.append(message)

    pipeline, day = DirectPipeline(Settings(), journey.catalogue(), on_message=take), 0.0
    pipeline._learn = lambda lesson: None  # type: ignore[method-assign]  # noqa: ARG005
    for _, message in journey.events():
        if message.occurred_at >= day + DAY_S:
            day = message.occurred_at // DAY_S * DAY_S
            pipeline.tick(day)
        pipeline.send(message)
    pipeline.tick(day + 400 * DAY_S)
    return kept


def learnt(messages: Sequence[OpenDecision | TrainingExample]) -> dict[str, float]:
    """Return P(redeem) of each issue by the model of its moment."""
    trainer, scorer, predicted = Trainer(Settings().learning, decides=False), linear.prior(), dict[str, float]()
    has_learnt = False
    for offset, message in enumerate(messages):
        if isinstance(message, OpenDecision):
            if message.is_first:
                if has_learnt:
                    scorer, has_learnt = next(iter(trainer.live().values()), scorer), False
                predicted[message.issue_id] = float(scorer.predict(unpack(message.numeric, message.hashed))[0, 1])
            has_learnt |= trainer.watch(message, offset, is_own=True)
        elif message.is_lesson:
            example = msgspec.structs.replace(message, predicted=predicted[message.issue_id])
            has_learnt |= trainer.learn(example, offset, None)
    return predicted


def compare_journey(options: argparse.Namespace) -> None:
    """Print the figures of the Complete Journey."""
    journey = completejourney.load(households=options.households)
    messages, issues = recorded(journey), journey.issues
    print(len(messages), "messages", flush=True)
    label, coupon = issues["label"].to_numpy(np.float64), issues["coupon_id"].tolist()
    mean, count, positive = float(label.mean()), Counter(coupon), Counter(issues["coupon_id"][issues["label"]])
    truth = {name: (positive[name] + HASHED_DRAW * mean) / (n + HASHED_DRAW) for name, n in count.items()}
    _, household = np.unique(issues["household"].to_numpy(), return_inverse=True)
    start_at = issues["start_at"].to_numpy()
    parts = {"first third": start_at <= np.quantile(start_at, 1 / 3), "all": start_at < math.inf}
    predicted = {}
    for name, expected in arms_of(truth, mean).items():
        with knowing(journey.catalogue(), expected):
            by_issue = learnt(messages)
        predicted[name] = np.array([by_issue[issue_id] for issue_id in issues["issue_id"]])
        for part, rows in parts.items():
            loss, _ = figures(predicted[name][rows], label[rows])
            ratio = predicted[name][rows].mean() / label[rows].mean()
            more = losses(predicted[name], label) - losses(predicted.get("labels", predicted[name]), label)
            print(f"{name:<10}{part}: log loss {loss:.5f}, predicted over observed {ratio:.3f}", flush=True)
            if name not in ("feedback", "labels"):
                print("    less labels", _bootstrap(more[rows], household[rows]), flush=True)
    more = losses(predicted["feedback"], label) - losses(predicted["labels"], label)
    for part, rows in parts.items():
        print("feedback less labels,", part, _bootstrap(more[rows], household[rows]))


def _bootstrap(more: Floats, household: NDArray[np.intp]) -> str:
    rng, size = np.random.default_rng(1), int(household.max()) + 1
    sums, counts = np.bincount(household, more, size), np.bincount(household, minlength=size)
    drawn = [rng.integers(0, size, size) for _ in range(1000)]
    low, high = np.quantile([sums[each].sum() / counts[each].sum() for each in drawn], (0.025, 0.975))
    return f"{more.mean():+.5f} ({low:+.5f}, {high:+.5f})"


def compare_simulator(options: argparse.Namespace) -> None:
    """Print expected incremental margins, whole currency units, by third, and the log loss against true chances."""
    settings = Settings()
    settings = msgspec.structs.replace(settings, kafka=msgspec.structs.replace(settings.kafka, partitions=1))
    found: list[dict[str, dict[str, tuple[float, ...]]]] = []
    for seed in options.seeds:
        world = WorldSettings(seed=seed, shoppers=options.shoppers, days=options.days)
        catalogue = World(world).catalogue()
        of_seed, issued = _played(world, catalogue, settings, {})
        by_arm = {"labels": of_seed}
        mean = float(np.mean([chance for _, chance in issued]))
        sums, counts = Counter[str](), Counter(name for name, _ in issued)
        for name, chance in issued:
            sums[name] += chance  # type: ignore[assignment]
        truth = {c.coupon_id: (sums[c.coupon_id] + 5 * mean) / (counts[c.coupon_id] + 5) for c in catalogue}
        for name, expected in arms_of(truth, mean).items():
            if name == "labels" or name not in options.arms:
                continue
            by_arm[name], _ = _played(world, catalogue, settings, expected)
            if name == "feedback":
                print(f"seed {seed}: feedback plays as labels do: {by_arm[name] == of_seed}", flush=True)
        for name, each in by_arm.items():
            rounded = {what: [round(value, 4) for value in values] for what, values in each.items()}
            print(seed, name, json.dumps(rounded), flush=True)
        found.append(by_arm)
    show_differences("simulator: margin of the run and of its thirds; loss of the first third and of all", found)


def _played(
    settings_of_world: WorldSettings, catalogue: Sequence[Coupon], settings: Settings, expected: Ratios | None
) -> tuple[dict[str, tuple[float, ...]], list[tuple[str, float]]]:
    """Return the figures of a run, and (coupon, true chance of a redemption) of all issues."""
    with knowing(catalogue, expected):
        played = play_scorer("learned", World(settings_of_world), settings, None, is_direct=True)
    days, issues = settings_of_world.days, played.outcomes.issues
    by_day = [0.0, *(margin / 100 for _, margin in played.margin_by_day)]
    thirds = [by_day[min((n + 1) * days // 3, len(by_day) - 1)] - by_day[n * days // 3] for n in range(3)]
    chance = np.array([played.outcomes.chances[issue.issue_id] for issue in issues])
    loss = losses(np.array([issue.p_redeem for issue in issues]), chance)
    is_early = np.array([issue.issued_at < settings_of_world.start_at + days / 3 * DAY_S for issue in issues])
    of_run = {"margin": (by_day[-1], *thirds), "loss": (float(loss[is_early].mean()), float(loss.mean()))}
    return of_run, [(issue.coupon_id, float(p)) for issue, p in zip(issues, chance, strict=True)]


def main(arguments: Sequence[str]) -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = {"logs": compare_logs, "journey": compare_journey, "simulator": compare_simulator}
    parser.add_argument("on", choices=commands)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--kinds", choices=LOGS, nargs="+", default=list(LOGS), help="of logs")
    parser.add_argument("--arms", nargs="+", default=[*arms_of({}, 0.0)], help="of the simulator, beside `labels`")
    parser.add_argument("--households", type=int, help="a sample of the journey's")
    parser.add_argument("--shoppers", type=int, default=300, help="of the simulator")
    parser.add_argument("--days", type=int, default=15, help="of the simulator")
    options = parser.parse_args(arguments)
    commands[options.on](options)


if __name__ == "__main__":
    main(sys.argv[1:])
