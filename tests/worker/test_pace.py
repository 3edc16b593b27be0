"""How often a worker polls RunPod: without a pause normally, and more slowly while every poll is refused."""

from runner_image.pace import LONGEST, Pace


class Worker:
    """The SDK's loop, in virtual time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pace = Pace(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def polls(self, *durations: float) -> list[float]:
        """The pause before each of these polls, given how many s each takes."""
        pauses = []
        for duration in durations:
            before = self.now
            assert self.pace(1) == 1
            pauses.append(round(self.now - before, 3))
            self.now += duration
        return pauses


def test_a_worker_whose_polls_are_refused_polls_more_and_more_slowly() -> None:
    pauses = Worker().polls(*[0.001] * 20)
    assert pauses[:8] == [0, 0, 0, 0, 0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == LONGEST
    assert pauses == sorted(pauses)


def test_a_first_request_and_long_polls_are_not_delayed() -> None:
    assert Worker().polls(0.001, 1.0, 1.0, 0.001, 90.0, 0.001, 0.001, 1.0, 1.0) == [0] * 9


def test_a_worker_polls_without_pauses_again_after_a_poll_that_was_not_refused() -> None:
    worker = Worker()
    worker.polls(*[0.001] * 20)
    assert worker.polls(1.0, 0.001, 0.001)[1:] == [0, 0]
