"""Events of a request: one JSON line each on stdout, and the progress that RunPod shows."""

import json
import time
from collections.abc import Mapping

from runner_image.masking import Masker
from runner_image.progress import Reporter

_PROGRESS = {"configured": "configured", "listening": "listening", "job started": "running"}
"""The `state` that `/status` shows from an event on."""


class Events:
    """Writes the events of one request.

    Args:
        masker: masks every line and message.
        reporter: sends the progress to RunPod; None in a local trial.
        known: fields of every line, such as the request's id.
    """

    def __init__(self, masker: Masker, reporter: Reporter | None, **known: object) -> None:
        self._masker = masker
        self._reporter = reporter
        self._known = known

    def bind(self, **known: object) -> None:
        """Add fields to every further line."""
        self._known |= known

    def __call__(self, event: str, **fields: object) -> None:
        """Write one event."""
        self._write({"at": round(time.time(), 3), "event": event, **self._known, **fields})
        if self._reporter and event in _PROGRESS:
            progress = {"state": _PROGRESS[event], "runner_name": self._known.get("runner"), **fields}
            self._reporter.send(self._masker.masked(progress))

    def _write(self, line: Mapping[str, object]) -> None:
        print(json.dumps(self._masker.masked(line)), flush=True)
