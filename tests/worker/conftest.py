"""Fixtures of this folder."""

from tests.support.runners import standin
from tests.worker.workers import worker

__all__ = ["standin", "worker"]
