"""The progress of `bridge setup`, in a file: an interrupted run continues from it.

GitHub shows the App's key once, so it is stored here first, in one write with all else of the App. The file has mode
0600 and is deleted at the end.
"""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

from bridge.commands.setup.folder import Folder
from bridge.errors import ConfigError
from bridge.github.manifest import LONGEST_NAME, NewApp

FILE = ".bridge-setup.json"


@dataclass(frozen=True, kw_only=True)
class NewEndpoint:
    """An `[[endpoint]]` with its `[[route]]`.

    Args:
        name: of the endpoint.
        label: of its route, beside `runpod`: gpu or cpu.
        image: of its workers.
        gpu: ids of GPU pools, the preferred one first; empty for CPU workers.
        flavor: of CPU workers, else empty.
        vcpus: of each CPU worker, else 0.
        workers_max: workers at a time.
    """

    name: str
    label: str
    image: str
    gpu: tuple[str, ...]
    flavor: str
    vcpus: int
    workers_max: int


@dataclass(kw_only=True)
class Progress:
    """What the steps have decided and received.

    Args:
        owner: the organisation or user.
        organisation: whether it is an organisation.
        api_url: GitHub's.
        webhook_url: None for an App without an active webhook.
        rerun_lost_jobs: of each route; above 0 the App needs another permission.
        name: of the App, as it was last proposed to GitHub.
        state: GitHub returns it with the code.
        callback_key: signs the URLs that RunPod calls.
        code: from GitHub, not yet exchanged.
        app: the App with its secrets.
        runpod_api_key: not checked if there is no endpoint.
        endpoint: RunPod's id; the empty text if the user has none yet, or if `endpoints` will be created.
        endpoints: those that `bridge endpoints apply` will create.
        management_key: of RunPod, only if it is to be kept.
        written: by file name, the SHA-256 of each text that this set-up wrote or was about to write.
    """

    owner: str
    organisation: bool
    api_url: str
    webhook_url: str | None
    rerun_lost_jobs: int = 0
    name: str = ""
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    callback_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    code: str | None = field(default=None, repr=False)
    app: NewApp | None = None
    runpod_api_key: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    endpoints: tuple[NewEndpoint, ...] = ()
    management_key: str | None = field(default=None, repr=False)
    written: dict[str, list[str]] = field(default_factory=dict)

    def forget_code(self) -> None:
        """Prepare a new registration."""
        self.code, self.state = None, secrets.token_urlsafe(32)

    def note(self, name: str, text: str) -> None:
        """Note a file's text before it is written."""
        digests = self.written.setdefault(name, [])
        if (digest := _digest(text)) not in digests:
            digests.append(digest)

    def wrote(self, name: str, text: str) -> bool:
        """Whether this set-up wrote a file's text, so that it may replace it."""
        return _digest(text) in self.written.get(name, ())


def app_name(owner: str) -> str:
    """A name for the App that is probably free: it must be unique on all of GitHub."""
    suffix = secrets.token_hex(3)
    return f"runpod-bridge-{owner}"[: LONGEST_NAME - len(suffix) - 1].rstrip("-") + f"-{suffix}"


def load(folder: Folder) -> Progress | None:
    """The progress of an interrupted run, None if there is none.

    Raises:
        ConfigError: the file cannot be read.
    """
    text = folder.read(FILE)
    if text is None:
        return None
    try:
        raw: dict[str, Any] = json.loads(text)
        app, endpoints = raw.pop("app"), [_endpoint(each) for each in raw.pop("endpoints")]
        return Progress(app=NewApp(**app) if app else None, endpoints=tuple(endpoints), **raw)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"{folder.path / FILE}: not written by this version of `bridge setup`; delete it to start again"
        ) from None


def _endpoint(raw: dict[str, Any]) -> NewEndpoint:
    return NewEndpoint(**{**raw, "gpu": tuple(raw["gpu"])})


def save(folder: Folder, progress: Progress) -> None:
    """Store the progress."""
    folder.write(FILE, json.dumps(asdict(progress), indent=1))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
