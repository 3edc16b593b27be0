"""How often runs that wait for a deployment review are read."""

from bridge.core.model import WaitingRun
from bridge.core.reviews import LIST_EVERY, MOST_READ, READ_WITHIN, RunRead, due
from tests.support.values import NOW


def a_waiting_run(run_id: int = 1, *, age: float = 60.0, updated_at: float = 7.0) -> WaitingRun:
    return WaitingRun(id=run_id, repository="acme/web", created_at=NOW - age, updated_at=updated_at)


def is_due(run: WaitingRun, read_before: float) -> bool:
    readings = {run.id: RunRead(at=NOW - read_before, updated_at=7.0)}
    return due([run], readings, NOW) == [run]


def test_a_new_run_and_one_that_github_has_updated_are_read_at_once() -> None:
    assert due([a_waiting_run()], {}, NOW) == [a_waiting_run()]
    assert is_due(a_waiting_run(updated_at=8.0), read_before=1)


def test_a_run_that_has_waited_for_days_is_read_every_quarter_of_an_hour_a_young_one_at_each_look() -> None:
    young, old = a_waiting_run(age=LIST_EVERY * 2), a_waiting_run(age=86_400.0)
    assert is_due(young, read_before=LIST_EVERY)
    assert not is_due(young, read_before=LIST_EVERY - 1)
    assert is_due(old, read_before=READ_WITHIN)
    assert not is_due(old, read_before=READ_WITHIN - 1)


def test_so_many_are_read_in_one_look_those_first_that_were_not_read_for_the_longest_time() -> None:
    runs = [a_waiting_run(n) for n in range(MOST_READ + 50)]
    readings = {n: RunRead(at=NOW - 2000 - n, updated_at=7.0) for n in range(MOST_READ + 50)}
    assert [run.id for run in due(runs, readings, NOW)] == list(range(MOST_READ + 49, 49, -1))
