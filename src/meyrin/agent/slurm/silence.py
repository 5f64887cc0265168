"""Since when Slurm's controller does not answer. It changes no job; the site's page says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from meyrin.domain.errors import Unreachable
from meyrin.domain.units import show_moment


class Silence:
    """Questions of any thread are asked within `asked`; one answer ends the silence."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._since_s: float | None = None
        self.answered_s = 0.0  # when the latest question that was answered was asked

    @contextmanager
    def asked(self) -> Iterator[None]:
        begun_s = self._clock_s()
        try:
            yield
        except Unreachable:
            if self._since_s is None:
                self._since_s = begun_s
            raise
        self._since_s = None
        self.answered_s = begun_s

    @property
    def lasts(self) -> bool:
        return self._since_s is not None

    def in_words(self, at_least_s: int) -> str:
        """Empty while it answers, or has been silent for less than that."""
        since_s = self._since_s
        if since_s is None or self._clock_s() < since_s + at_least_s:
            return ""
        return f"its Slurm does not answer since {show_moment(int(since_s))}"
