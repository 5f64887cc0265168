"""Colours and measures that figures share; whose they are, says `figures`."""

from __future__ import annotations

BLUE, ORANGE, GREEN, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#cc79a7"
TODAY = "today"
WIDTH = 440  # of a plot, in points
