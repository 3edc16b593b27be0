"""The states, logs and annotations of a job's steps, read from act's log."""

from collections.abc import Mapping, Sequence
from typing import Any

from .results import now

PENDING, RUNNING, DONE = 5, 3, 6
CONCLUSIONS = {"success": 2, "failure": 3, "cancelled": 4, "skipped": 7}
"""Numbers of the results service."""

WORDS = {2: "succeeded", 3: "failed", 4: "canceled", 7: "skipped"}
ANNOTATIONS = ("notice", "warning", "error")


class Steps:
    """The steps of one job.

    Args:
        job: its key; act's log also has the stubs of other jobs and the job that prints the outcome.
        messages: the steps in the job message.
    """

    def __init__(self, job: str, messages: Sequence[Mapping[str, Any]]) -> None:
        self._job = job
        self.logs: dict[str, list[str]] = {}
        self.all: dict[str, dict[str, Any]] = {}
        self._annotations: dict[str, list[dict[str, object]]] = {}
        for index, message in enumerate(messages):
            name = str(message.get("contextName") or "")
            # act calls a step without an id by its index.
            key = str(index) if name.startswith("__") else name
            self.all[key] = {
                "external_id": str(message["id"]),
                "number": index + 1,
                "name": _display_name(message),
                "status": PENDING,
            }

    def read(self, entry: Mapping[str, Any], text: str) -> bool:
        """Read an entry of act's log and the text that it adds; whether a step's state changed."""
        path = entry.get("stepID") or ()
        key = str(path[0]) if path else ""
        if key not in self.all or entry.get("jobID") != self._job:
            return False
        self.logs.setdefault(key, []).append(text)
        if entry.get("command") in ANNOTATIONS:
            self._annotations.setdefault(key, []).append(_annotation(entry))
        return self._advance(self.all[key], entry)

    def finish(self) -> None:
        """End the steps that have not: they were skipped, or cut off."""
        for each in self.all.values():
            if each["status"] != DONE:
                skipped = each["status"] == PENDING
                each |= {"status": DONE, "conclusion": CONCLUSIONS["skipped" if skipped else "cancelled"]}
                each.setdefault("completed_at", now())

    def results(self) -> list[dict[str, Any]]:
        """The `stepResults` of the job's report."""
        return [
            {
                **each,
                "type": "action",
                "status": "completed",
                "conclusion": WORDS[each["conclusion"]],
                "annotations": self._annotations.get(key, []),
            }
            for key, each in self.all.items()
        ]

    def _advance(self, step: dict[str, Any], entry: Mapping[str, Any]) -> bool:
        if len(entry["stepID"]) > 1 or entry.get("stage") != "Main":
            return False  # of a step in a composite action, or before or after the step itself
        if "stepResult" in entry:
            conclusion = CONCLUSIONS.get(entry["stepResult"], CONCLUSIONS["skipped"])
            step |= {"status": DONE, "conclusion": conclusion, "completed_at": now()}
            return True
        if step["status"] == PENDING and str(entry.get("msg", "")).startswith("⭐"):
            step |= {"status": RUNNING, "started_at": now()}
            return True
        return False


def _display_name(message: Mapping[str, Any]) -> str:
    """The name of a step; one without a name is called by what it runs."""
    given = message.get("displayNameToken")
    if isinstance(given, str):
        return given
    if message["reference"]["type"] != "script":
        return f"Run {message['reference'].get('name') or message['reference'].get('path')}"
    items = (message.get("inputs") or {}).get("map") or ()
    script = next((item["Value"] for item in items if item["Key"] == "script"), "")
    return f"Run {str(script).strip().partition(chr(10))[0]}" if isinstance(script, str) else "Run a script"


def _annotation(entry: Mapping[str, Any]) -> dict[str, object]:
    """https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#setting-a-notice-message"""
    given: Mapping[str, str] = entry.get("kvPairs") or {}
    level = {"error": "failure"}.get(entry["command"], entry["command"])
    places = {"path": given.get("file"), "startLine": given.get("line"), "title": given.get("title")}
    return {"level": level, "message": str(entry.get("arg", "")), **{k: v for k, v in places.items() if v}}
