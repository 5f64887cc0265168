"""Numbers of jobs that are sent at once: whose come first, and that those of one array go on."""

from __future__ import annotations

import threading

from tests.hub.facility import at_once

from meyrin.domain.job import ArraySpec, Dependency, DependencyKind
from meyrin.hub.jobs import service as jobs
from meyrin.hub.jobs.find import find, find_first
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


def test_one_row_is_read_where_one_is_wanted(sqlite_hub):
    array = sqlite_hub.submit(array=ArraySpec((3, 4, 5)))
    plain = sqlite_hub.submit()
    actor, client = sqlite_hub.actor("ada"), sqlite_hub.client("ada")
    with sqlite_hub.read() as step:
        for label in (array, array + 1, f"{array}_4", plain):
            assert find_first(step, actor, str(label)).id == find(step, actor, str(label))[0].id
    with sqlite_hub.counting() as statements:
        assert client.get(f"/api/v1/jobs/{array}/output").status_code == 200
        sqlite_hub.explain(array)
    assert not [each for each in statements if "OR jobs.family" in each], "the whole array"
    for label in (f"{array}_6", plain + 1):
        assert client.get(f"/api/v1/jobs/{label}/output").status_code == 404
