"""Fixtures of this folder."""

from tests.support.runners import standin

__all__ = ["standin"]
