"""The study: the same seed tries the same points, finished trials are kept, interrupted ones are repeated."""

import math
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from optuna.trial import FrozenTrial

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons_lab.processes import processes
from stream_coupons_lab.tuning.options import Method
from stream_coupons_lab.tuning.search_space import Choices, Range, SearchSpace, Value, rounded, settings_with
from stream_coupons_lab.tuning.study import Evaluate, SearchPlan, best, done, opened, search

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

Points = list[tuple[dict[str, Value], float | None]]


def valley(settings: Settings) -> float:
    """Lowest, 0, at a rate of 0.1 with 20 neighbours."""
    rate, neighbours = settings.learning.prior_variance, settings.neighbourhood.neighbours
    return math.log10(rate / 0.1) ** 2 + (neighbours / 20 - 1) ** 2 + (settings.profile.missing_price == "drop")


def cliff(settings: Settings) -> float:
    return math.nan if settings.learning.prior_variance < 0.1 else 1.0


def die(settings: Settings) -> float:
    os._exit(len(settings.secret_file) + 1)


def plan(method: Method = Method.BAYES, trials: int = 12, seed: int = 0, space: SearchSpace = SPACE) -> SearchPlan:
    return SearchPlan(space, BAD, method, trials, seed)


def tried(
    path: Path, wanted: SearchPlan, jobs: int = 1, stop_after: int = 10**9, evaluate: Evaluate = valley
) -> list[FrozenTrial]:
    """Search until all trials are done, or some of them; return these of the whole study."""
    with opened(path, wanted, QUESTION) as study, ThreadPoolExecutor(jobs) as pool:
        for count, _ in enumerate(search(study, path, wanted, evaluate, pool), start=1):
            if count == stop_after:
                pool.shutdown(wait=True, cancel_futures=True)
                break
        return done(study)


def points(trials: list[FrozenTrial]) -> Points:
    return [(rounded(trial.params), trial.value) for trial in trials]


def in_any_order(trials: list[FrozenTrial]) -> list[str]:
    return sorted(map(str, points(trials)))


@pytest.mark.parametrize("method", [Method.RANDOM, Method.BAYES])
def test_a_search_begins_with_todays_settings_and_finds_better_ones(tmp_path: Path, method: Method) -> None:
    found = points(tried(tmp_path / "study", plan(method, trials=20)))
    assert found[0][0] == SPACE.values(BAD)
    values = [value for _, value in found if value is not None]
    assert len(values) == 20
    assert min(values) < values[0] / 2
    assert [valley(settings_with(BAD, point)) for point, _ in found] == values


@pytest.mark.parametrize("method", [Method.RANDOM, Method.BAYES])
def test_the_same_seed_tries_the_same_points_and_another_seed_does_not(tmp_path: Path, method: Method) -> None:
    first, second, other = (
        points(tried(tmp_path / f"study-{number}", plan(method, trials=14, seed=seed)))
        for number, seed in enumerate((5, 5, 6))
    )
    assert first == second
    assert first[0] == other[0]
    assert not any(point in other for point in first[1:])
    assert len({str(point) for point in first}) == len(first)


@pytest.mark.parametrize("method", list(Method))
def test_an_interruption_changes_no_point(tmp_path: Path, method: Method) -> None:
    wanted = plan(method, trials=14, space=SPACE if method is not Method.GRID else ONE_RATE)
    for stop in (3, 1, 7, 10**9):
        parts = tried(tmp_path / "parts", wanted, stop_after=stop)
    assert points(parts) == points(tried(tmp_path / "whole", wanted))
    assert len(parts) == 14


@pytest.mark.parametrize("method", [Method.RANDOM, Method.GRID])
def test_trials_that_were_under_way_are_repeated_with_their_values(tmp_path: Path, method: Method) -> None:
    path, wanted = tmp_path / "study", plan(method, trials=6, space=ONE_RATE)
    whole = tried(tmp_path / "whole", wanted)
    with opened(path, wanted, QUESTION) as study:
        for number in range(3):  # a killed process tells nothing
            study.sampler = wanted.sampler(number)
            ONE_RATE.suggest(study.ask())
    assert in_any_order(tried(path, wanted)) == in_any_order(whole)
    assert len(whole) == 6


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(Method.RANDOM, trials=4)
    tried(path, wanted, stop_after=2)
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    (tmp_path / "study.lock").symlink_to(path)
    assert points(tried(path, wanted)) == points(tried(tmp_path / "whole", wanted))


def test_several_jobs_try_the_same_random_points(tmp_path: Path) -> None:
    wanted = plan(Method.RANDOM, trials=9)
    assert in_any_order(tried(tmp_path / "one", wanted)) == in_any_order(tried(tmp_path / "three", wanted, jobs=3))


def test_points_do_not_depend_on_which_job_takes_the_first_trial(tmp_path: Path) -> None:
    path, whole = tmp_path / "study", points(tried(tmp_path / "whole", plan(Method.RANDOM, trials=5)))
    with opened(path, plan(Method.RANDOM), QUESTION) as study, ThreadPoolExecutor(1) as pool:
        study.ask()  # another job has today's settings
        assert len(list(search(study, path, plan(Method.RANDOM, trials=4), valley, pool))) == 4
        assert points(done(study)) == whole[1:]


def test_a_longer_search_extends_a_shorter_one(tmp_path: Path) -> None:
    path = tmp_path / "study"
    assert len(tried(path, plan(trials=5))) == 5
    longer = tried(path, plan(trials=12))
    assert points(longer) == points(tried(tmp_path / "whole", plan(trials=12)))
    assert tried(path, plan(trials=3)) == longer


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_point_of_a_grid_is_tried_once(tmp_path: Path, jobs: int) -> None:
    found = {str(sorted(point.items())) for point, _ in points(tried(tmp_path / "a", plan(Method.GRID, 30), jobs))}
    assert len(found) == plan(Method.GRID, 30).total == 27


def test_settings_without_a_quality_are_kept_and_never_the_best(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(Method.GRID, trials=4, space=ONE_RATE)
    values = [value for _, value in points(tried(path, wanted, evaluate=cliff))]
    assert sorted(map(str, values)) == ["1.0", "1.0", "None", "None"]
    with opened(path, wanted, QUESTION) as study:
        kept = best(study)
        assert kept is not None
        assert kept.value == 1.0


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
    tried(path, plan(), stop_after=1)
    with pytest.raises(BadConfig, match=f"was begun with {name}: .*another --study"), opened(path, other, QUESTION):
        pass


def test_a_question_depends_on_the_size_of_a_grid_and_not_on_the_number_of_trials_or_on_kafka() -> None:
    grid = plan(Method.GRID, trials=5, space=ONE_RATE)
    assert replace(grid, trials=9).question() != grid.question()
    assert plan(trials=9).question() == plan().question()
    assert replace(plan(), base=replace_kafka(BAD)).question() == plan().question()


def replace_kafka(settings: Settings) -> Settings:
    return Settings(learning=settings.learning, kafka=KafkaSettings(group_id="another"))


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


def test_a_study_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="Is a directory"), opened(tmp_path, plan(), QUESTION):
        pass


@pytest.mark.long
def test_processes_run_trials_and_a_killed_one_is_reported(tmp_path: Path) -> None:
    path, wanted = tmp_path / "study", plan(trials=4)
    with opened(path, wanted, QUESTION) as study, processes(2) as pool:
        assert len(list(search(study, path, wanted, valley, pool))) == len(done(study)) == 4
    path = tmp_path / "other"
    with (
        opened(path, wanted, QUESTION) as study,
        pytest.raises(BadConfig, match=r"a worker process was killed.*fewer --jobs"),
        processes(1) as pool,
    ):
        list(search(study, path, wanted, die, pool))


def test_a_full_disk_is_reported_with_the_name_of_the_study(tmp_path: Path) -> None:
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
