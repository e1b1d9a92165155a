"""The study: the same seed tries the same, what is done is kept, what was under way is tried again."""

import math
import os
import resource
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

pytest.importorskip("optuna")

from stream_coupons.core.errors import BadConfig
from stream_coupons.lab.tuning.objective import CHECKPOINTS, ObjectiveValue
from stream_coupons.lab.tuning.processes import processes
from stream_coupons.lab.tuning.search_space import Choices, Method, Range, SearchPlan, SearchSpace, Value
from stream_coupons.lab.tuning.tuning import ENOUGH, Best, Evaluate, Study, opened, results
from stream_coupons.settings import LearningSettings, Settings

RATE, NEIGHBOURS, PRICE = "learning.prior_variance", "neighbourhood.neighbours", "profile.missing_price"
SPACE = SearchSpace(
    {
        RATE: Range(low=0.001, high=1, log=True),
        NEIGHBOURS: Range(low=1, high=50),
        PRICE: Choices(choices=["drop", "last", "median"]),
    }
)
ONE_RATE = SearchSpace({RATE: Range(low=0.001, high=1, log=True)})
BAD = Settings(learning=LearningSettings(prior_variance=0.001))
QUESTION = {"log": "digest"}


def valley(settings: Settings, bars: Sequence[float] = ()) -> ObjectiveValue:  # noqa: ARG001 - it goes to the end
    """Lowest, 0, at a rate of 0.1 with 20 neighbours."""
    rate, neighbours = settings.learning.prior_variance, settings.neighbourhood.neighbours
    is_dropped = settings.profile.missing_price == "drop"
    return ObjectiveValue(math.log10(rate / 0.1) ** 2 + (neighbours / 20 - 1) ** 2 + is_dropped)


def valley_with_bars(settings: Settings, bars: Sequence[float]) -> ObjectiveValue:
    """The same, which shows at every checkpoint already."""
    value = valley(settings).value
    for step, bar in enumerate(bars, start=1):
        if value > bar:
            return ObjectiveValue(value, (value,) * step, is_given_up=True)
    return ObjectiveValue(value, (value,) * len(CHECKPOINTS))


def cliff(settings: Settings, bars: Sequence[float]) -> ObjectiveValue:  # noqa: ARG001 - it goes to the end
    return ObjectiveValue(math.nan if settings.learning.prior_variance < 0.1 else 1.0)


def die(settings: Settings, bars: Sequence[float]) -> ObjectiveValue:  # noqa: ARG001 - it ends at once
    os._exit(len(settings.secret_file) + 1)


def plan(method: Method = Method.BAYES, trials: int = 12, seed: int = 0, space: SearchSpace = SPACE) -> SearchPlan:
    return SearchPlan(space, BAD, method, trials, is_maximised=False, seed=seed)


class Tried(list[tuple[int, dict[str, Value], float]]):
    """Number, values and quality of trials, in the order they came; the best of the study."""

    best: Best | None


def search(
    path: Path, wanted: SearchPlan, jobs: int = 1, stop_after: int = 10**9, evaluate: Evaluate = valley
) -> Tried:
    """Search until all is done, or so much of it."""
    tried = Tried()
    with opened(path, wanted, QUESTION) as study, ThreadPoolExecutor(jobs) as pool:
        for number, values, quality in run_through(study, evaluate, pool, jobs):
            tried.append((number, values, quality))
            if len(tried) == stop_after:
                break
        tried.best = study.best()
    return tried


def failed(study: Study) -> int:
    """How many trials have no quality."""
    return sum(math.isnan(one.quality) for one in study.tried())


def run_through(
    study: Study, evaluate: Evaluate, pool: ThreadPoolExecutor, jobs: int
) -> Iterator[tuple[int, dict[str, Value], float]]:
    for finished in results(study, evaluate, pool, jobs):
        for trial, quality in finished:
            study.tell(trial, quality)
            yield trial.number, study.values(trial), quality.value


@pytest.mark.parametrize("method", [Method.RANDOM, Method.BAYES])
def test_it_begins_with_what_is_used_today_and_finds_better(tmp_path: Path, method: Method) -> None:
    tried = search(tmp_path / "study", plan(method, trials=20))
    assert [number for number, _, _ in tried] == list(range(20))
    assert tried[0][1] == SPACE.values(BAD)
    assert tried.best is not None
    assert tried.best.quality == min(quality for _, _, quality in tried) < tried[0][2] / 2
    assert valley(tried.best.settings).value == tried.best.quality


@pytest.mark.long
def test_bayes_comes_nearer_than_chance(tmp_path: Path) -> None:
    """The median of five seeds: one seed is luck."""

    def typical(method: Method) -> float:
        bests = [search(tmp_path / f"{method}-{seed}", plan(method, 40, seed)).best for seed in range(5)]
        return median(best.quality for best in bests if best is not None)

    assert typical(Method.BAYES) < typical(Method.RANDOM)


@pytest.mark.parametrize("method", [Method.RANDOM, Method.BAYES])
def test_the_same_seed_tries_the_same_and_another_seed_does_not(tmp_path: Path, method: Method) -> None:
    first, second, other = (
        search(tmp_path / f"study-{number}", plan(method, trials=14, seed=seed))
        for number, seed in enumerate((5, 5, 6))
    )
    assert first == second
    assert [values for _, values, _ in first[1:]] != [values for _, values, _ in other[1:]]
    assert len({str(values) for _, values, _ in first}) == len(first)


@pytest.mark.parametrize("method", list(Method))
def test_an_interruption_changes_nothing_of_what_is_tried(tmp_path: Path, method: Method) -> None:
    wanted = plan(method, trials=14, space=SPACE if method is not Method.GRID else ONE_RATE)
    whole = search(tmp_path / "whole", wanted)
    parts = [search(tmp_path / "parts", wanted, stop_after=stop) for stop in (3, 1, 7, 10**9)]
    assert [trial for part in parts for trial in part] == whole
    assert parts[-1].best == whole.best


def test_trials_that_were_under_way_are_tried_again_under_their_numbers(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(Method.RANDOM, trials=6)
    whole = search(tmp_path / "whole", wanted)
    with opened(path, wanted, QUESTION) as study:
        asked = [study.next() for _ in range(3)]
        assert asked[1] is not None
        study.tell(asked[1], valley(study.settings(asked[1])))
    assert sorted([*search(path, wanted), whole[1]]) == sorted(whole)


def test_several_jobs_try_the_same_points_by_chance(tmp_path: Path) -> None:
    wanted = plan(Method.RANDOM, trials=9)
    assert sorted(search(tmp_path / "one", wanted)) == sorted(search(tmp_path / "three", wanted, jobs=3))


def test_a_longer_search_goes_on_with_a_shorter_one(tmp_path: Path) -> None:
    path = tmp_path / "study"
    first = search(path, plan(trials=5))
    assert [*first, *search(path, plan(trials=12))] == search(tmp_path / "whole", plan(trials=12))
    assert search(path, plan(trials=3)) == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_grid_is_covered(tmp_path: Path, jobs: int) -> None:
    wanted = plan(Method.GRID, trials=30)
    tried = search(tmp_path / "study", wanted, jobs)
    points = {tuple(sorted(SPACE.rounded(point, BAD).items())) for point in wanted.grid()}
    assert {tuple(sorted(values.items())) for _, values, _ in tried} == points
    assert len(tried) == 27


def test_a_grid_is_covered_once_though_a_point_was_only_named_when_it_stopped(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(Method.GRID, trials=3, space=ONE_RATE)
    with opened(path, wanted, QUESTION) as study:
        study._study.enqueue_trial(wanted.grid()[0])
    assert [values[RATE] for _, values, _ in search(path, wanted)] == [0.001, 0.03162, 1.0]


def test_a_trial_whose_values_were_half_chosen_is_given_up(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(Method.RANDOM, trials=4)
    search(path, wanted, stop_after=2)
    lines = path.read_bytes().splitlines(keepends=True)
    with opened(path, wanted, QUESTION) as study:
        study.next()
    added = path.read_bytes().splitlines(keepends=True)[len(lines) :]
    path.write_bytes(b"".join(lines + added[:2]))  # the trial and the first of its three values
    assert [number for number, _, _ in search(path, wanted)] == [3, 4]
    with opened(path, wanted, QUESTION) as study:
        assert (study.done(), failed(study)) == (4, 0)


def test_a_line_that_was_not_written_to_its_end_is_dropped(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(Method.RANDOM, trials=4)
    done = search(path, wanted, stop_after=2)
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert [*done, *search(path, wanted)] == search(tmp_path / "whole", wanted)


def test_settings_without_a_quality_are_counted_and_never_the_best(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(Method.GRID, trials=4, space=ONE_RATE)
    tried = search(path, wanted, evaluate=cliff)
    assert [math.isnan(quality) for _, _, quality in tried] == [True, True, False, False]
    assert tried.best is not None
    assert tried.best.number == 2
    with opened(path, wanted, QUESTION) as study:
        assert (study.done(), failed(study)) == (4, 2)


@pytest.mark.parametrize("stops", [(10**9,), (4, 9, 10**9)])
def test_a_trial_that_lags_behind_the_median_is_given_up(tmp_path: Path, stops: tuple[int, ...]) -> None:
    path, wanted = tmp_path / "study", plan(Method.RANDOM, trials=20)
    tried = [one for stop in stops for one in search(path, wanted, stop_after=stop, evaluate=valley_with_bars)]
    whole = search(tmp_path / "whole", wanted)
    assert tried == whole
    kept = [quality for _, _, quality in whole[:ENOUGH]]
    for _, _, quality in whole[ENOUGH:]:
        kept += [quality] if quality <= median(kept) else []
    with opened(path, wanted, QUESTION) as study:
        assert study.done() == 20
        assert sum(one.is_given_up for one in study.tried()) == 20 - len(kept) > 0
        assert study.bars() == pytest.approx([median(kept)] * len(CHECKPOINTS))
        assert study.best() == whole.best


def test_a_checkpoint_without_a_metric_is_no_bar(tmp_path: Path) -> None:
    def unknown_at_first(settings: Settings, bars: Sequence[float]) -> ObjectiveValue:  # noqa: ARG001 - it goes to the end
        return valley(settings)._replace(steps=(math.nan, 1.0, 1.0, 1.0))

    path, wanted = tmp_path / "study", plan(Method.RANDOM, trials=ENOUGH)
    search(path, wanted, evaluate=unknown_at_first)
    with opened(path, wanted, QUESTION) as study:
        assert math.isnan(study.bars()[0])
        assert study.bars()[1:] == [1.0, 1.0, 1.0]


def test_the_best_of_a_maximised_study_is_the_largest(tmp_path: Path) -> None:
    tried = search(tmp_path / "study", replace(plan(), is_maximised=True))
    assert tried.best is not None
    assert tried.best.quality == max(quality for _, _, quality in tried)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (replace(plan(), seed=1), "seed = 0, now it is 1"),
        (replace(plan(), method=Method.RANDOM), "method = bayes, now it is random"),
        (replace(plan(), base=Settings()), "settings.learning.prior_variance = 0.001, now it is 1.0"),
        (replace(plan(), space=ONE_RATE), f"space.{NEIGHBOURS}.high = 50, now it is None"),
    ],
)
def test_a_study_of_another_question_is_refused(tmp_path: Path, other: SearchPlan, name: str) -> None:
    path = tmp_path / "study"
    search(path, plan(), stop_after=1)
    with pytest.raises(BadConfig, match=f"was begun with {name}: .*another --study"), opened(path, other, QUESTION):
        pass


@pytest.mark.parametrize("content", [b"precious", b'{"type": "issue"}\n{"type":', b'{"op_code":99}\n'])
def test_a_file_that_is_no_study_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study"
    path.write_bytes(content)
    with pytest.raises(BadConfig, match="is no study"), opened(path, plan(), QUESTION):
        pass
    assert path.read_bytes() == content


def test_two_processes_do_not_work_on_one_study(tmp_path: Path) -> None:
    path = tmp_path / "study"
    with (
        opened(path, plan(), QUESTION),
        pytest.raises(BadConfig, match="another process"),
        opened(path, plan(), QUESTION),
    ):
        pass


def test_a_study_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="Is a directory"), opened(tmp_path, plan(), QUESTION):
        pass


@pytest.mark.long
def test_processes_work_and_a_dead_one_is_told_of(tmp_path: Path) -> None:
    with opened(tmp_path / "study", plan(trials=4), QUESTION) as study, processes(2) as pool:
        tried = [quality for finished in results(study, valley, pool, 2) for _, quality in finished]
    assert len(tried) == 4
    with (
        opened(tmp_path / "other", plan(trials=4), QUESTION) as study,
        pytest.raises(BadConfig, match=r"a worker process was killed.*fewer --jobs"),
        processes(1) as pool,
    ):
        list(results(study, die, pool, 1))


def test_a_full_disk_is_said_with_the_name_of_the_study(tmp_path: Path) -> None:
    path, before = tmp_path / "study", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with (
            pytest.raises(BadConfig, match=r"study: File too large: not all was written"),
            opened(path, plan(), QUESTION),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < path.stat().st_size <= 200
