"""The command line, and the environment variables that can replace it."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field

PREFIX = "ACTIONS_RUNNER_INPUT_"
COMMANDS = frozenset({"configure", "run"})
FLAGS = frozenset(
    {
        "check", "commit", "disableupdate", "ephemeral", "help", "local", "no-default-labels", "once",
        "replace", "runasservice", "unattended", "version",
    }
)  # fmt: skip
ARGUMENTS = frozenset(
    {
        "jitconfig", "labels", "monitorsocketaddress", "name", "pat", "runnergroup", "startuptype", "token",
        "url", "username", "work",
    }
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Command:
    """A parsed command line.

    Args:
        name: configure, run, or empty for none.
        flags: on the command line.
        arguments: values by name.
        environment: values of `ACTIONS_RUNNER_INPUT_<NAME>` by lower-case name. The command line has precedence.
        unknown: words that are no command, flag or argument; they only cause a warning.
    """

    name: str = ""
    flags: frozenset[str] = frozenset()
    arguments: dict[str, str] = field(default_factory=dict, repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    unknown: tuple[str, ...] = ()

    def flag(self, name: str) -> bool:
        """Whether a flag is set; in the environment its value must be `true`."""
        return name in self.flags or self.environment.get(name, "").lower() == "true"

    def argument(self, name: str, default: str = "") -> str:
        """An argument's value."""
        return self.arguments.get(name) or self.environment.get(name) or default


def parse(argv: Sequence[str], environ: MutableMapping[str, str]) -> Command:
    """Parse the command line, and remove its replacements from `environ`."""
    commands, flags, arguments = _split(argv)
    return Command(
        name=next((word for word in commands if word in COMMANDS), ""),
        flags=flags & FLAGS,
        arguments={name: value for name, value in arguments.items() if name in ARGUMENTS},
        environment=_take_inputs(environ),
        unknown=(
            *(word for word in commands if word not in COMMANDS),
            *sorted(flags - FLAGS - ARGUMENTS),
            *sorted(arguments.keys() - ARGUMENTS - FLAGS),
        ),
    )


def _split(argv: Sequence[str]) -> tuple[list[str], frozenset[str], dict[str, str]]:
    """Words before the first option, options without a value, options with one."""
    words: list[str] = []
    options: dict[str, str | None] = {}
    current: str | None = None
    for word in argv:
        if word.startswith("--"):
            current = word[2:].lower()
            options[current] = None
        elif current is None:
            words.append(word.lower())
        elif options[current] is None:
            options[current] = word
    flags = frozenset(name for name, value in options.items() if value is None or name in FLAGS)
    return words, flags, {name: value for name, value in options.items() if value is not None}


def _take_inputs(environ: MutableMapping[str, str]) -> dict[str, str]:
    names = [name for name in environ if name.upper().startswith(PREFIX)]
    return {name[len(PREFIX) :].lower(): environ.pop(name).strip() for name in names}
