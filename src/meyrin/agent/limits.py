"""The seam to whatever keeps a site's own accounts and limits in step with projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meyrin.wire.limits import DriftLine, ProjectLimits


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass found and did. `words`: why it did nothing at all."""

    lines: tuple[DriftLine, ...] = ()
    words: str = ""


class KeepsLimits(Protocol):
    def once(self, projects: Sequence[ProjectLimits]) -> Pass:
        """Compare what should be with what is, and where the site lets it, mend. Raises
        Unreachable when the site's accounting does not answer; nothing was done then."""
        ...
