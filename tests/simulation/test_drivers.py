"""The real bridge in a simulation: it serves jobs however it is run, and webhooks, callbacks and outages reach it.

Other tests check what it decides.
"""

from typing import Any

import pytest

from bridge.core.worker import Credentials
from tests.simulation import (
    HOUR,
    Act,
    Cron,
    Dispatcher,
    Endpoint,
    GitHub,
    Run,
    RunPod,
    Scenario,
    Service,
    Simulation,
    Window,
    measure,
    simulate,
)
from tests.support.values import a_route


def three_jobs(*dispatchers: Dispatcher, **given: Any) -> Scenario:
    """Three jobs, one every ten minutes."""
    runs = tuple(Run(name=f"job{n}", at=5.0 + n * 600.0) for n in range(3))
    defaults: dict[str, Any] = {"seconds": 0.75 * HOUR, "runs": runs, "dispatchers": dispatchers}
    return Scenario(**defaults | given)


@pytest.mark.parametrize("mode", [Credentials.JIT, Credentials.REGISTRATION, Credentials.APP])
@pytest.mark.parametrize("runs", [Service(), Cron(interval=60.0), Cron(interval=60.0, keeps_ledger=False)])
def test_a_service_and_cron_serve_jobs_in_every_credentials_mode(runs: Service | Cron, mode: Credentials) -> None:
    outcome = simulate(three_jobs(Dispatcher(routes=(a_route(credentials=mode),), runs=runs)))
    assert outcome.served() == 3
    assert max(outcome.waits()) < 60.0 + 60.0 + 15.0  # the interval, the cold start and calls
    assert outcome.useful() == 180.0
    assert not outcome.problems


def test_a_delivery_wakes_the_service_before_its_next_resync() -> None:
    heard = simulate(three_jobs(Dispatcher(routes=(a_route(),), runs=Service(interval=300.0))))
    unheard = simulate(three_jobs(Dispatcher(routes=(a_route(),), runs=Service(interval=300.0), webhooks=False)))
    assert max(heard.waits()) < 60.0 + 10.0
    assert max(unheard.waits()) > 150.0


def test_without_webhooks_the_delivery_log_reports_new_jobs() -> None:
    github = GitHub(webhooks_lost=(Window(),))
    reader = Dispatcher(routes=(a_route(),), delivery_log=True, full_scan_every=HOUR)
    outcome = simulate(three_jobs(reader, github=github))
    assert outcome.served() == 3
    assert outcome.called("github get delivery") >= 3


def test_a_callback_reports_that_a_request_has_ended() -> None:
    slow = Dispatcher(routes=(a_route(),), runs=Service(interval=900.0), webhooks=False)
    called = simulate(three_jobs(slow, seconds=1_400.0))  # before the first resync after the job
    uncalled = simulate(three_jobs(slow, seconds=1_400.0, runpod=RunPod(callbacks_lost=(Window(),))))
    assert called.called("runpod status") > 0
    assert uncalled.called("runpod status") == 0


def test_repositories_register_their_own_runners() -> None:
    names = ("acme/a", "acme/b")
    runs = tuple(Run(name=name, repository=name, at=5.0) for name in names)
    repositories = Dispatcher(routes=(a_route(),), organisation=None, repositories=names)
    outcome = simulate(three_jobs(repositories, runs=runs))
    assert outcome.served() == 2
    assert {worker.target for worker in outcome.workers} == {"repos/acme/a", "repos/acme/b"}


def test_two_copies_share_a_ledger() -> None:
    copies = tuple(Dispatcher(name=name, routes=(a_route(),), starts=at) for name, at in (("a", 0.0), ("b", 7.0)))
    outcome = simulate(three_jobs(*copies))
    assert outcome.served() == 3
    assert outcome.started() == 3


def test_a_ledger_can_be_lost_and_restored() -> None:
    def save(simulation: Simulation) -> None:
        simulation.ledgers["ledger"].save()

    def restore(simulation: Simulation) -> None:
        simulation.ledgers["ledger"].restore()

    def lose(simulation: Simulation) -> None:
        simulation.ledgers["ledger"].lose(simulation.drivers["bridge"].clock())

    acts = (Act(at=300.0, do=save), Act(at=700.0, do=restore), Act(at=1_300.0, do=lose))
    outcome = simulate(three_jobs(Dispatcher(routes=(a_route(),)), acts=acts))
    assert outcome.served() == 3


def test_outages_of_an_api_are_reported_and_survived() -> None:
    down = (Window(until=100.0),)
    outcome = simulate(three_jobs(Dispatcher(routes=(a_route(),)), github=GitHub(unavailable=down)))
    assert outcome.served() == 3
    assert any("503" in problem for problem in outcome.problems)


def test_the_same_scenario_gives_the_same_outcome_and_another_seed_another() -> None:
    def scenario(seed: int) -> Scenario:
        endpoint = Endpoint(crashes=(Window(chance=0.5),))
        return three_jobs(Dispatcher(routes=(a_route(),)), endpoints={"ep-1": endpoint}, seed=seed)

    first, again = measure(scenario(1)), measure(scenario(1))
    assert first == again
    assert len({measure(scenario(seed)).paid() for seed in range(1, 5)}) > 1
