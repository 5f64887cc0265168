"""Numbers of jobs that are sent at once: whose come first, and that those of one array go on."""

from __future__ import annotations

import threading

from tests.hub.facility import at_once

from meyrin.domain.job import Dependency, DependencyKind
from meyrin.hub.jobs import service as jobs
from meyrin.wire.jobs import Submission

ALONE = {"name": "one", "dependencies": (Dependency(DependencyKind.SINGLETON),)}


def test_of_two_singletons_sent_at_once_one_waits(hub):
    actor, sent, looked = hub.actor("ada"), threading.Event(), threading.Event()
    asked = [
        Submission(request=hub.ask(f"#!/bin/sh\n: {n}\n", **ALONE), idempotency_key=hub.key())
        for n in range(2)
    ]

    def send(number):
        if number == 1:
            sent.wait(20)
            threading.Timer(0.5, looked.set).start()  # it waits for the other by then, if ever
            hub.submit_all(asked[1:])
            hub.steps()
            looked.set()
            return
        with hub.write() as step:
            jobs.submit(step, actor, asked[:1])
            sent.set()
            if not hub.database.is_sqlite:  # it has one writer at a time
                looked.wait(20)

    at_once(2, send)
    hub.steps()
    assert hub.states(1, 2) == ["placed", "submitted"]
