"""The reference says what the code says."""

from __future__ import annotations

import pytest
from pydantic import BaseModel
from tests.docs import generate


@pytest.mark.parametrize("name", generate.MAKE)
def test_the_page_is_up_to_date(name: str) -> None:
    there = (generate.PAGES / name).read_text(encoding="utf-8")
    assert there == generate.page(name), "run: .venv/bin/python -m tests.docs.generate"


@pytest.mark.parametrize("name", generate.SCHEMAS)
def test_the_schema_is_up_to_date(name: str) -> None:
    there = (generate.ROOT / name).read_text(encoding="utf-8")
    assert there == generate.schema(name), "run: .venv/bin/python -m tests.docs.generate"


def test_every_table_of_an_agents_settings_is_on_the_page() -> None:
    from meyrin.agent import config

    page = generate.settings_page()
    tables = [
        each
        for each in vars(config).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each is not BaseModel
    ]
    assert config.LimitsConfig in tables
    for table in tables:
        for key in table.model_fields:
            assert f"| `{key}` |" in page, (table.__name__, key)


def test_every_field_of_the_settings_says_what_it_is() -> None:
    from meyrin.agent import config
    from meyrin.hub.plumbing import settings

    for module, name in ((settings, "HubSettings"), (config, "AgentConfig"), (config, "Rules")):
        silent = [field for field, _, said in generate.documented(module, name) if not said]
        assert not silent, name
