"""A hub's sites as a facility file: what is known as numbers, what is not as unknown, in ranges.

Never asks a hub; the caller brings what it said.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import Partition
from meyrin.domain.units import CORE
from meyrin.plan import countries as codes

if TYPE_CHECKING:
    from meyrin.wire.sites import SiteDetail

# H100-equivalents by dense BF16, W (chip to facility), kEUR installed (half to one and a half
# of the median): Epoch AI, Data on Machine Learning Hardware and on GPU Clusters, CC BY 4.0
KINDS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "a100": ((0.32, 0.32), (400, 850), (10, 31)),
    "mi250x": ((0.39, 0.39), (500, 1060), (12, 35)),
    "h100": ((1.0, 1.0), (700, 1430), (16, 49)),
    "gh200": ((1.0, 1.0), (700, 1400), (12, 62)),
    "h200": ((1.0, 1.0), (700, 1400), (16, 49)),
    "mi300x": ((1.32, 1.32), (750, 1530), (12, 37)),
    "b200": ((2.27, 2.27), (1000, 2000), (22, 66)),
    "gb200": ((2.53, 2.53), (1200, 2400), (21, 64)),
    CORE: ((0.001, 0.003), (3, 12), (0.05, 0.4)),
}
OTHER = ((0.1, 3.0), (300, 2500), (5, 70))
ASSUMED = "assumption: a range wide enough for Europe; put your own number and its source here"
HEAD = """#:schema facility.schema.json
# Written by `meyrin facility export` on {today}. What the hub does not know is unknown here, with a
# range: replace it by a value with its source, and the study's intervals of knowing get narrower.
name = {name}

[source.hub]
title = "What the sites' agents told the hub"
address = {address}
date = {today}

[source.epoch]
title = "Epoch AI, Data on Machine Learning Hardware and on GPU Clusters, CC BY 4.0"
address = "https://epoch.ai/data/gpu-clusters"

[climate]
pue_base = {{ value = 1.04, unit = "1", source = "assumption: of our demonstrations" }}
pue_from = {{ value = 5, unit = "degC", source = "assumption: of our demonstrations" }}
pue_slope = {{ value = 0.008, unit = "1/degC", source = "assumption: of our demonstrations" }}
season = {{ value = 9, unit = "degC", source = "assumption: of our demonstrations" }}
day = {{ value = 4, unit = "degC", source = "assumption: of our demonstrations" }}
idle = {{ value = 0.2, unit = "1", source = "assumption: of our demonstrations" }}

[money]
life = {{ value = 5, low = 4, high = 6, unit = "a", source = "assumption: as large operators do" }}
upkeep = {{ value = 6, unit = "%/a", source = "assumption: of our demonstrations" }}
building = {{ value = 9, low = 7, high = 19, unit = "MEUR", source = "assumption: for one MW" }}
building_life = {{ value = 20, unit = "a", source = "assumption: of our demonstrations" }}
"""


def facility_toml(
    details: Sequence[SiteDetail],
    where: Mapping[str, str],
    address: str,
    today: dt.date,
    now_s: int,
) -> str:
    """The text of a facility file. InvalidInput for a site without a country, or without any
    partition. A site with several partitions becomes several, called SITE-PARTITION."""
    places = list(_places(details))
    if not places:
        raise InvalidInput(
            "this hub has no site with a partition",
            hint="`meyrin site list` shows them; a partition is told by the site's agent",
        )
    missing = sorted({d.site.name for d, _, _ in places} - set(where))
    if missing:
        raise InvalidInput(
            f"the country of {', '.join(missing)} is not known",
            hint=" ".join(f"--country {name}=CODE" for name in missing),
            field="--country",
        )
    for code in where.values():
        if code not in codes.CODES:
            raise InvalidInput(
                f"{code!r} is no country", hint="two letters of ISO 3166-1, such as FI",
                field="--country", value=code,
            )  # fmt: skip
    name = _text(f"{address}, as of {today}")
    source = address if "." in address.partition("://")[2] else ""
    parts = [HEAD.format(today=today, name=name, address=_text(source))]
    kinds = sorted({partition.charged_type for _, partition, _ in places})
    parts += [_kind(kind) for kind in kinds]
    parts += [_site(d, p, called, where[d.site.name], now_s) for d, p, called in places]
    return "\n".join(parts)


def _places(details: Sequence[SiteDetail]) -> Iterator[tuple[SiteDetail, Partition, str]]:
    for detail in sorted(details, key=lambda one: one.site.name):
        parts = detail.site.partitions
        for partition in parts:
            alone = len(parts) == 1
            name = detail.site.name if alone else f"{detail.site.name}-{partition.name}"
            yield detail, partition, name[:63]


def _kind(kind: str) -> str:
    speed, draw, price = KINDS.get(kind, OTHER)
    known = kind in KINDS and kind != CORE
    source = "epoch" if known else ASSUMED
    exact = speed[0] == speed[1]
    lines = [
        "[[accelerator]]",
        f"name = {_text(kind)}",
        f"speed = {_exact(speed[0], 'H100e/accelerator', source)}"
        if exact
        else f"speed = {_range(*speed, 'H100e/accelerator', source)}",
        f"draw = {_range(*draw, 'W/accelerator', source)}",
        f"price = {_range(*price, 'kEUR/accelerator', source)}",
    ]
    return "\n".join(lines) + "\n"


def _site(detail: SiteDetail, partition: Partition, called: str, country: str, now_s: int) -> str:
    site = detail.site
    each = partition.accelerators_per_node or partition.cores_per_node
    count = each * partition.nodes
    owners: dict[str, int] = {}
    for offer in detail.offers:
        over = offer.end_s is not None and offer.end_s <= now_s
        if offer.partition == partition.name and offer.start_s <= now_s and not over:
            for owner in offer.owners:
                owners[owner.owner] = owners.get(owner.owner, 0) + owner.weight
    whole = sum(owners.values())
    title = site.title or site.name
    lines = [
        "[[site]]",
        f"name = {_text(called)}",
        f"title = {_text(title if called == site.name else f'{title}, {partition.name}')}",
        f"country = {_text(country)}",
        f"shared = {str(site.open_to_all).lower()}",
        f"accelerator = {_text(partition.charged_type)}",
        f"accelerators = {_exact(count, 'accelerators', 'hub')}",
        f"node = {_exact(each, 'accelerators/node', 'hub')}",
        f"price = {_range(40, 250, 'EUR/MWh', ASSUMED)}",
        f"carbon = {_range(20, 700, 'gCO2/kWh', ASSUMED)}",
        f"temperature = {_range(0, 20, 'degC', ASSUMED)}",
        f"link = {_range(10, 400, 'Gbit/s', ASSUMED)}",
    ]
    if owners:
        lines.append("owners = [")
        lines += [
            f"  {{ owner = {_text(name)}, share = {_exact(100 * weight / whole, '%', 'hub')} }},"
            for name, weight in sorted(owners.items())
        ]
        lines.append("]")
    return "\n".join(lines) + "\n"


def _exact(value: float, unit: str, source: str) -> str:
    return f'{{ value = {value:.12g}, unit = "{unit}", source = {_text(source)} }}'


def _range(low: float, high: float, unit: str, source: str) -> str:
    return (
        f'{{ unknown = true, low = {low:g}, high = {high:g}, unit = "{unit}",'
        f" source = {_text(source)} }}"
    )


def _text(words: str) -> str:
    """A basic string of TOML: JSON's escapes are TOML's."""
    return json.dumps(words, ensure_ascii=False)
