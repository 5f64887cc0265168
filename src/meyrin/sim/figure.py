"""What all figures share: colours, looks, and drawing without a browser or network."""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import Any

BLUE, ORANGE, GREY = "#2166ac", "#c7621a", "#666666"


def styled(chart: Any) -> Any:
    """The chart on white, with quiet axes. What a caller configures comes after it."""
    return (
        chart.configure(background="white", padding=14)  # first: it replaces what was said before
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=11,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor="#e6e6e6",
            domainColor="#999999",
            tickColor="#999999",
        )
    )


def as_svg(chart: Any) -> str:
    """The chart as SVG."""
    into = StringIO()
    chart.save(into, format="svg")
    return into.getvalue()


def as_png(chart: Any) -> bytes:
    """The chart as PNG, at twice the size for sharp print."""
    into = BytesIO()
    chart.save(into, format="png", scale_factor=2)
    return into.getvalue()
