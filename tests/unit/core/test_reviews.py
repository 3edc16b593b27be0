"""How often runs that wait for a deployment review are read."""

from bridge.core.model import WaitingRun
from bridge.core.reviews import MOST_READ, RunRead, due
from tests.support.values import NOW, TIMING


def a_waiting_run(run_id: int = 1, *, age: float = 60.0, updated_at: float = 7.0) -> WaitingRun:
    return WaitingRun(id=run_id, repository="acme/web", created_at=NOW - age, updated_at=updated_at)


def is_due(run: WaitingRun, read_before: float) -> bool:
    readings = {run.id: RunRead(at=NOW - read_before, updated_at=7.0)}
    return due([run], readings, TIMING, NOW) == [run]


def test_a_new_run_and_one_that_github_has_updated_are_read_at_once() -> None:
    assert due([a_waiting_run()], {}, TIMING, NOW) == [a_waiting_run()]
    assert is_due(a_waiting_run(updated_at=8.0), read_before=1)


def test_a_run_that_has_waited_for_days_is_read_every_quarter_of_an_hour_and_a_young_one_in_each_list() -> None:
    young, old = a_waiting_run(age=TIMING.reviews_every * 2), a_waiting_run(age=86_400.0)
    assert is_due(young, read_before=TIMING.reviews_every)
    assert not is_due(young, read_before=TIMING.reviews_every - 1)
    assert is_due(old, read_before=TIMING.review_reread)
    assert not is_due(old, read_before=TIMING.review_reread - 1)


def test_a_limited_number_is_read_at_a_time_those_first_that_were_read_longest_ago() -> None:
    runs = [a_waiting_run(n) for n in range(MOST_READ + 50)]
    readings = {n: RunRead(at=NOW - 2000 - n, updated_at=7.0) for n in range(MOST_READ + 50)}
    assert [run.id for run in due(runs, readings, TIMING, NOW)] == list(range(MOST_READ + 49, 49, -1))


def test_of_runs_that_are_equally_due_the_oldest_is_read_first() -> None:
    runs = [a_waiting_run(n) for n in (3, 1, 2)]
    assert [run.id for run in due(runs, {}, TIMING, NOW)] == [1, 2, 3]
