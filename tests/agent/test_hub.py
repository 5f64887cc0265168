"""What the agent says to the hub is what the hub takes, whatever an operator wrote."""

from __future__ import annotations

import httpx2
import pytest

from meyrin.agent.hub import Hub
from meyrin.client.connection import Connection
from meyrin.domain.errors import Failed
from meyrin.wire.agents import JoinBody, LeaseBody


@pytest.mark.parametrize("reason", ["new cooling " * 100, "new\ncooling\0"])
def test_a_long_or_odd_reason_to_take_nothing_new_is_said_as_far_as_it_goes(reason):
    said = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        said.append(LeaseBody.model_validate_json(request.content))
        return httpx2.Response(200, json={"work": [], "requests": {}, "cancel": []})

    connection = Connection("http://hub.test", "secret", transport=httpx2.MockTransport(answer))
    assert Hub(connection, "a.1").lease(0.0, reason).work == []
    connection.close()
    (body,) = said
    assert body.not_now == reason[:500].replace("\0", "\ufffd")


def test_an_enrolment_is_taken_for_the_site_that_was_named():
    said = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        said.append(JoinBody.model_validate_json(request.content))
        return httpx2.Response(200, json={"site": "alps", "title": "Alps", "now_ms": 1})

    connection = Connection("http://hub.test", "", transport=httpx2.MockTransport(answer))
    assert Hub(connection, "").join("myr_enrol", "0" * 64, "alps").site == "alps"
    connection.close()
    assert said == [JoinBody(enrolment="myr_enrol", digest="0" * 64, site="alps")]


def test_limits_are_read_as_every_answer_is():
    """A newer hub says more, and a page of something in between is a failure that time can mend."""
    answers = [{"at_ms": 1, "projects": [], "more": 1}, "log in to the network"]
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=answers.pop(0)))
    connection = Connection("http://hub.test", "secret", transport=transport)
    hub = Hub(connection, "a.1")
    assert hub.limits().projects == []
    with pytest.raises(Failed, match="LimitsReply"):
        hub.limits()
    connection.close()
