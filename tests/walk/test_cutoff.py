"""A hub that is away, a site that is cut off, Ctrl-C: what runs goes on, its end arrives once."""

from __future__ import annotations

from tests.walk.facility import Facility, request, wait_for


def test_a_job_goes_from_submission_to_its_charge(either: Facility) -> None:
    either.grant(100_000)
    either.agent("alps").start()
    either.joined("alps")
    with either.hub.client() as client:
        job = client.submit(request(either.mark, "echo here; exit 3"))
        ended = client.wait(job.job)
        assert (ended.job.state, ended.job.exit_code) == ("failed", 3)
        assert client.output(job.job) == b"here\n"
        wait_for(lambda: client.job(job.job).used_s == 1, "the charge")
        assert not client.verify().findings
