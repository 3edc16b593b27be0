"""Helpers that several test folders share.

| module | holds |
|---|---|
| emulators | both emulators in a thread, and the bridge's command against them |
| service | the service as a process, with webhooks |
| github, values | the emulated GitHub's state; values of `bridge.core` with defaults |
| instant, runners | workers without processes; the runner stand-in's programs |
| modelled, copies | a model of GitHub, RunPod and time in one process; dispatchers for it |
| postgres | a real PostgreSQL server, and new ledgers |
| clock | a clock that tests set |
| background | services in a thread, and waiting for a condition |
| effort | how many seeds and mutations are tried |
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
