"""What happens to a request: one JSON line per event on stdout, and its progress to RunPod."""

import json
import time
from collections.abc import Mapping

from runner_image.masking import Masker
from runner_image.progress import Reporter

_PROGRESS = {"configured": "configured", "listening": "listening", "job started": "running"}
"""What `/status` shows from an event on, under `state`."""


class Events:
    """Writes the events of one request.

    Args:
        masker: masks them.
        reporter: tells RunPod the progress; None where there is no RunPod.
        known: what every line says, such as the request's id.
    """

    def __init__(self, masker: Masker, reporter: Reporter | None, **known: object) -> None:
        self._masker = masker
        self._reporter = reporter
        self._known = known

    def bind(self, **known: object) -> None:
        """Add to what every line says."""
        self._known |= known

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event."""
        self._write({"at": round(time.time(), 3), "event": event, **self._known, **fields})
        if self._reporter and event in _PROGRESS:
            told = {"state": _PROGRESS[event], "runner_name": self._known.get("runner"), **fields}
            self._reporter.tell(self._masker.masked(told))

    def _write(self, line: Mapping[str, object]) -> None:
        print(json.dumps(self._masker.masked(line)), flush=True)
