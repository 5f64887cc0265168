"""`meyrin plan schema`: the JSON Schema by which editors check a study's files."""

from __future__ import annotations

import json

import click

from meyrin.cli.terminal import data


@click.command(
    "schema",
    epilog="""\b
Examples:
  meyrin plan schema facility > facility.schema.json
  meyrin plan schema scenario > scenario.schema.json
Name it in the first line of the TOML file: #:schema facility.schema.json
""",
)
@click.argument("kind", type=click.Choice(["facility", "scenario"]))
def schema(kind: str) -> None:
    """Print what a facility file or a scenario may hold, as JSON Schema with a word on each key.

    Editors that know TOML schemas (Even Better TOML, taplo) then complete keys and
    units, and mark what does not fit, before anything is run.
    """
    from pydantic import BaseModel  # noqa: PLC0415 - not for --help

    from meyrin.plan.facility import FacilityFile  # noqa: PLC0415
    from meyrin.plan.scenario import ScenarioFile  # noqa: PLC0415

    models: dict[str, type[BaseModel]] = {"facility": FacilityFile, "scenario": ScenarioFile}
    data(json.dumps(models[kind].model_json_schema(), indent=2))
