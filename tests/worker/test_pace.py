"""How often a worker asks RunPod for a request: at once while that makes sense, slower when it is refused each time."""

from runner_image.pace import LONGEST, Pace


class Worker:
    """The SDK's loop in virtual time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pace = Pace(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def asks(self, *polls: float) -> list[float]:
        """The pause before each poll that takes so many s."""
        pauses = []
        for poll in polls:
            before = self.now
            assert self.pace(1) == 1
            pauses.append(round(self.now - before, 3))
            self.now += poll
        return pauses


def test_a_worker_that_is_refused_each_time_asks_ever_more_rarely() -> None:
    pauses = Worker().asks(*[0.001] * 20)
    assert pauses[:8] == [0, 0, 0, 0, 0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == LONGEST
    assert pauses == sorted(pauses)


def test_a_first_request_and_long_polls_are_not_delayed() -> None:
    assert Worker().asks(0.001, 1.0, 1.0, 0.001, 90.0, 0.001, 0.001, 1.0, 1.0) == [0] * 9


def test_a_worker_that_was_refused_and_then_heard_is_not_slow_any_more() -> None:
    worker = Worker()
    worker.asks(*[0.001] * 20)
    assert worker.asks(1.0, 0.001, 0.001)[1:] == [0, 0]
