"""Fixtures of this folder."""

from tests.runners import standin

__all__ = ["standin"]
