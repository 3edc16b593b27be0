"""The problems that the service has at present. The log shows each one once, when it appears."""

import structlog

from bridge.errors import Problem

log = structlog.get_logger()


class Problems:
    """The current problems, by the activity that has them."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[Problem, ...]] = {}

    def replace(self, activity: str, *problems: Problem) -> None:
        """Replace the problems of an activity; none if it succeeded. Only changes are logged."""
        before = self.all()
        self._of[activity] = problems
        now = self.all()
        for problem in now:
            if problem not in before:
                log.warning("failing", problem=str(problem))
        if before and not now:
            log.info("recovered")

    def all(self) -> list[Problem]:
        """All current problems, each once."""
        return list(dict.fromkeys(problem for problems in self._of.values() for problem in problems))
