"""The agent between a hub that says what should be and a keeper that sees what is."""

from __future__ import annotations

import pytest
from tests.agent.scripted import Site

from meyrin.agent.config import LimitsConfig
from meyrin.agent.limits import Pass
from meyrin.agent.slurm.reconcile import keeper
from meyrin.domain.errors import InvalidInput, Unreachable
from meyrin.wire.limits import DriftLine, LimitsReply, ProjectLimits

LINE = DriftLine(kind="user", account="m_lab", outcome="done")


class Hub:
    def __init__(self):
        self.told = []

    def limits(self):
        project = ProjectLimits(project="lab", people=["ada"], left_s={"core": 5})
        return LimitsReply(at_ms=1, projects=[project])

    def drift(self, mode, words, lines, at_ms):
        self.told.append((mode, words, tuple(lines), at_ms))


class Keeper:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def once(self, projects):
        self.asked.append([each.project for each in projects])
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def agent(site: Site, monkeypatch: pytest.MonkeyPatch):
    made = site.agent()
    monkeypatch.setattr(made, "hub", Hub())
    made.config = made.config.model_copy(update={"limits": LimitsConfig(mode="apply")})
    return made


def test_what_was_done_is_told(agent):
    agent.keeper = Keeper(Pass((LINE,)))
    agent.keep_limits_once()
    assert agent.keeper.asked == [["lab"]]
    assert agent.hub.told == [("apply", "", (LINE,), agent.clock_ms())]


def test_a_site_that_does_not_answer_is_told_too(agent):
    agent.keeper = Keeper(Unreachable("sacctmgr: no slurmdbd"))
    agent.keep_limits_once()
    ((mode, words, lines, _),) = agent.hub.told
    assert (mode, lines) == ("apply", ())
    assert "no slurmdbd" in words


def test_off_by_default(agent):
    agent.keep_limits_once()
    agent.keeper = Keeper(Pass())
    agent.config = agent.config.model_copy(update={"limits": LimitsConfig()})
    agent.keep_limits_once()
    assert agent.keeper.asked == agent.hub.told == []
    assert keeper(agent.config) is None


def test_a_batch_system_without_accounts_is_refused_by_name(agent):
    with pytest.raises(InvalidInput, match="local"):
        keeper(agent.config.model_copy(update={"batch": "local"}))
    slurm = agent.config.model_copy(update={"batch": "slurm"})
    assert keeper(slurm) is not None
