"""What pages say, to whom, in how many queries; without a browser."""

from __future__ import annotations

import csv
import io
import re
from importlib import resources
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.hub.reports.world import HOSTILE, Hub, gpu

from meyrin.cli.main import cli
from meyrin.domain.job import ArraySpec, JobRequest, Resources
from meyrin.domain.states import JobState
from meyrin.hub.sites import presence
from meyrin.hub.sites import service as sites

LISTS = ["/", "/jobs", "/jobs?state=waiting", "/sites", "/sites/alpha", "/projects/climate"]
CSP = "default-src 'self'"


def test_every_page_answers_and_is_guarded(hub: Hub) -> None:
    paths = [*LISTS, "/projects", "/sites/gamma", "/sites/epsilon"]
    mine = [number for name, number in hub.numbers.items() if name != "secret"]
    paths += [f"/jobs/{number}" for number in mine]
    paths += [f"/jobs/{number}/cancel" for number in mine]
    with hub.client("ana") as client:
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            headers = answer.headers
            assert headers["content-security-policy"].startswith(CSP)
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
            inline = re.compile(r"<script(?![^>]* src=)|\son\w+=\"|\sstyle=", re.IGNORECASE)
            assert not inline.search(answer.text), path
    with hub.client() as stranger:
        for path in [*paths, "/metrics", "/projects/climate/statement.csv"]:
            answer = stranger.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login"), path


def test_names_stay_text(shown: Hub) -> None:
    with shown.client("ana") as client:
        text = client.get("/jobs").text + client.get("/").text + client.get("/sites/alpha").text
    assert "<script>window" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;window.hacked=1" in text
    assert HOSTILE[3] in text
    assert "49" not in re.findall(r">([^<]*)&lt;b&gt;bold", text)[0]


# --- who sees what


def test_people_see_their_projects_only(hub: Hub) -> None:
    secret = hub.numbers["secret"]
    hidden = [
        f"/jobs/{secret}",
        f"/jobs/{secret}/cancel",
        f"/jobs/{secret}/output",
        "/projects/secret",
        "/projects/secret/statement.csv",
    ]
    with hub.client("ana") as ana:
        for path in hidden:
            answer = ana.get(path)
            assert answer.status_code == 404, path
            assert answer.headers["content-type"].startswith("text/html")
        assert ana.post(f"/jobs/{secret}/cancel", headers=_ours()).status_code == 404
        for path in [*LISTS, "/jobs?project=secret", "/jobs?state=waiting&project=secret"]:
            assert "not for ana" not in ana.get(path).text, path
    with hub.client("root") as root:
        assert "not for ana" in root.get("/jobs").text
        assert root.get(f"/jobs/{secret}").status_code == 200
    with hub.client("newcomer") as newcomer:
        text = newcomer.get("/").text
        assert "You are in no project yet" in text
        assert "No job was submitted yet" in text


def _ours() -> dict[str, str]:
    return {"origin": "http://hub.test"}


def test_a_cancel_comes_from_our_own_page(hub: Hub) -> None:
    path = f"/jobs/{hub.numbers['waiting']}/cancel"
    with hub.client("ana") as client:
        for headers in ({}, {"origin": "http://evil.test"}, {"origin": "null"}):
            assert client.post(path, headers=headers).status_code == 403
        answer = client.post(path, headers=_ours())
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/jobs/{hub.numbers['waiting']}"
        assert "cancelled by ana" in client.get(answer.headers["location"]).text
        assert "nothing left to cancel" in client.get(path).text


def test_an_array_is_cancelled_whole(hub: Hub) -> None:
    array = hub.numbers["array"]
    with hub.client("ana") as client:
        assert "20 elements that have not ended" in client.get(f"/jobs/{array}/cancel").text
        client.post(f"/jobs/{array}/cancel", headers=_ours())
        assert "16 cancelled" in client.get(f"/jobs/{array}").text


# --- errors


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/jobs/999999", 404, "there is no job 999999"),
        ("/jobs/0x10", 404, "is no job"),
        ("/jobs/5_99999999999999999999", 404, "is no job"),
        ("/jobs/٣", 404, "is no job"),
        ("/jobs/%3Cscript%3E", 404, "&lt;script&gt;"),
        ("/jobs?state=asleep", 422, "is no job state"),
        ("/jobs?state=asleep", 422, '<p class="lead">&#39;asleep&#39; is no job state'),
        ("/sites/Foo", 404, '<p class="lead sentence">there is no site'),
        ("/jobs?after=x", 422, "after can&#39;t be &#39;x&#39;."),
        ("/jobs/1?stream=stdin", 422, "stream can&#39;t be &#39;stdin&#39;."),
        ("/sites/nowhere", 404, "there is no site"),
        ("/projects/nowhere", 404, "that you may see"),
        ("/projects/climate?month=2026-13", 422, "is no month"),
        ("/projects/climate/statement.csv?month=2026", 422, "is no month"),
        ("/no/such/page", 404, "there is nothing at this address"),
        ("/jobs/", 404, "there is nothing at this address"),
    ],
)
def test_errors_are_pages_for_browsers_and_json_for_programs(
    shown: Hub, path: str, status: int, words: str
) -> None:
    with shown.client("ana") as client:
        page = client.get(path)
        assert page.status_code == status, page.text
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith(CSP)
        assert words in page.text
        plain = client.get(path, headers={"accept": "application/json"})
        assert plain.status_code == status
        assert plain.json()["error"]["code"] in {"not_found", "invalid_input"}


def test_the_api_keeps_its_own_errors(shown: Hub) -> None:
    with shown.client("ana") as client:
        answer = client.get("/api/v1/nothing")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
        assert client.get("/static/nothing.css").status_code == 404
        assert client.get("/static/meyrin.css").headers["content-type"].startswith("text/css")


# --- live blocks


def test_only_what_changed_is_sent(hub: Hub) -> None:
    asks = {"hx-request": "true"}
    with hub.client("ana") as client:
        poll = _poll(client.get("/?x=ä%26b").text)
        assert "x=%C3%A4%26b" in poll
        assert client.get(poll, headers=asks).status_code == 204
        hub.clock.pass_s(1)
        assert client.get(poll, headers=asks).status_code == 204
        hub.end(hub.numbers["running"])
        part = client.get(poll, headers=asks)
        ids = re.findall(r'<section id="(\w+)"', part.text)
        assert ids == ["sites", "counts", "newest", "projects"]
        again = _poll(part.text)
        hub.start(hub.numbers["queued"])
        part = client.get(again, headers=asks)
        ids = re.findall(r'<section id="(\w+)"', part.text)
        assert ids == ["sites", "counts", "newest"]
        assert "innerHTML:#say" in part.text
        assert "<html" not in part.text
        # what somebody makes up is a page with everything in it
        assert client.get("/?seen=..--x", headers=asks).text.count("<section") == 4
    with hub.client() as stranger:
        answer = stranger.get(poll, headers=asks)
        assert answer.status_code == 401
        assert answer.headers["hx-redirect"] == "/login?next=%2F%3Fx%3D%25C3%25A4%2526b"


def _poll(text: str) -> str:
    found = re.search(r'hx-get="([^"]+)"', text)
    assert found
    return found[1].replace("&amp;", "&")


def test_a_site_shows_which_of_its_partitions_take_nothing(hub: Hub) -> None:
    with hub.database.write() as step:
        site = sites.site_by_name(step, "alpha")
        names = [one.name for one in site.partitions]
        short = [{"partition": n, "usable_nodes": 0, "why": f"{n} is DOWN"} for n in names]
        said = (site.batch_kind, site.partitions, site.incarnation, {"shortages": short})
        sites.announce(step, site.id, *said)
    with hub.client("ana") as client:
        text = client.get("/sites/alpha").text
    assert all(f"{n} takes no new jobs: {n} is DOWN" in text for n in names)
    assert set(re.findall(r">([0-9,]+)</strong> of", text)) == {"0"}  # none is free


def test_a_site_shows_what_its_agent_said(hub: Hub) -> None:
    with hub.client("ana") as client:
        text = client.get("/sites/alpha").text
        for word in ("slurm 22.05.8", "by Slurm&#39;s commands", "Meyrin 1.2.3", "Its credential"):
            assert word in text
        assert "at most 20 jobs at once" in text
        assert "&lt;b&gt;Mon&lt;/b&gt;" in text
        assert "Takes no new jobs" not in text
        with hub.database.write() as step:
            presence.say_not_now(step, hub.site_ids["alpha"], "quiet hours until Mon 18:00 (UTC)")
        assert "Takes no new jobs: quiet hours until Mon 18:00" in client.get("/sites/alpha").text
        assert "Rules of the site" not in client.get("/sites/epsilon").text


# --- queries


def _queries(hub: Hub, path: str) -> int:
    with hub.client("ana") as client, hub.counted() as statements:
        assert client.get(path).status_code == 200
        return len(statements)


def _more(hub: Hub) -> None:
    """Several times as much of everything."""
    ana = hub.actor("ana")
    for n in range(25):
        hub.submit(ana, gpu(f"more {n}", 1, held=n % 2 == 0))
    spec = ArraySpec(tuple(range(300)))
    hub.submit(ana, JobRequest("#!/bin/sh\n", name="wide", project="climate", array=spec))
    hub.place()
    for n in range(5):
        hub.site(f"more-{n}", "more")


def test_pages_need_as_many_queries_however_much_there_is(hub: Hub) -> None:
    paths = {
        "/": 13,
        "/jobs": 9,
        "/jobs?state=waiting&site=alpha&project=climate": 9,
        "/sites": 4,
        "/sites/alpha": 10,
        "/projects": 4,
        # one for its tests without evidence, one for their words, one for energy
        "/projects/climate": 15,
        f"/jobs/{hub.numbers['completed']}": 20,
        f"/jobs/{hub.numbers['waiting']}": 30,
        f"/jobs/{hub.numbers['array']}": 6,
        "/metrics": 8,
    }
    before = {path: _queries(hub, path) for path in paths}
    _more(hub)
    after = {path: _queries(hub, path) for path in paths}
    assert after == before
    assert not {path: n for path, n in before.items() if n > paths[path]}, before


def test_long_lists_come_in_pages(hub: Hub) -> None:
    ana = hub.actor("ana")
    for n in range(60):
        hub.submit(ana, gpu(f"one of many {n}", 1, held=True))
    with hub.client("ana") as client:
        seen: list[str] = []
        path = "/jobs?state=submitted"
        while path:
            text = client.get(path).text
            seen += re.findall(r'id="j-(\w+)"', text)
            found = re.search(r'id="next-page" href="([^"]+)"', text)
            path = found[1].replace("&amp;", "&") if found else ""
    assert len(seen) == len(set(seen)) == 61
    assert seen == sorted(seen, key=int, reverse=True)


def test_a_large_array_is_a_grid_in_pages(hub: Hub) -> None:
    ana = hub.actor("ana")
    request = JobRequest(
        "#!/bin/sh\n",
        name="wide",
        project="climate",
        walltime_s=60,
        array=ArraySpec(tuple(range(1200))),
        resources=Resources(tasks=1),
        held=True,
    )
    number = hub.submit(ana, request)
    with hub.client("ana") as client:
        first = client.get(f"/jobs/{number}").text
        assert "1,200 submitted" in first
        assert first.count('id="e-') == 500
        assert client.get(f"/jobs/{number}?after=999").text.count('id="e-') == 200
        one = client.get(f"/jobs/{number}_7").text
        assert f'href="/jobs/{number}"' in one
        lines = client.get("/jobs").text
        assert lines.count(f'id="j-{number}') == 1
        assert "array of 1,200" in lines


# --- what is said


def test_states_are_words_in_every_list(shown: Hub) -> None:
    with shown.client("ana") as client:
        text = client.get("/jobs").text
    said = {str(state) for state in JobState} - {"running", "queued"}
    assert all(f"</svg>{state}</span>" in text for state in {*said, "running", "queued"})
    assert "unknown (REVOKED&lt;i&gt;)" in text


def test_a_waiting_job_says_why_and_what_would_help(shown: Hub) -> None:
    with shown.client("ana") as client:
        text = client.get(f"/jobs/{shown.numbers['waiting']}").text
        assert "Why it waits" in text
        assert "needs 4 nodes at alpha/gpu" in text
        assert "--clusters=alpha,beta" in text
        text = client.get(f"/jobs/{shown.numbers['held']}").text
        assert "held by its owner" in text
        assert "it starts at" not in text, "not while it is held"


def test_an_ended_job_says_what_it_cost(shown: Hub) -> None:
    with shown.client("ana") as client:
        text = client.get(f"/jobs/{shown.numbers['completed']}").text
    assert "(3,016 s)" in text  # 754 s on 4 accelerators
    assert text.count("→") == 4
    assert "used of cern at alpha/gpu" in text
    assert "/files/model%201.npz" in text
    assert "/files/%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E.npz" in text


def test_the_output_is_there_as_a_file(shown: Hub) -> None:
    with shown.client("ana") as client:
        answer = client.get(f"/jobs/{shown.numbers['completed']}/output")
        assert answer.text == "epoch 1: точность 0.91 ✓\n" * 30
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        errors = client.get(f"/jobs/{shown.numbers['failed']}/output?stream=stderr")
        assert errors.text == "Traceback: <script>window.hacked=1</script>\n"
        assert client.get(f"/jobs/{shown.numbers['held']}/output").text == ""


def test_a_job_opens_on_the_stream_that_has_text(shown: Hub) -> None:
    with shown.client("ana") as client:
        for job, stream in (("failed", "stderr"), ("completed", "stdout"), ("held", "stdout")):
            text = client.get(f"/jobs/{shown.numbers[job]}").text
            assert f"/follow?stream={stream}" in text
        text = client.get(f"/jobs/{shown.numbers['failed']}?stream=stdout").text
        assert "/follow?stream=stdout" in text
        assert 'data-size="0"' in text


def test_a_page_knows_before_the_stream_comes_that_something_was_printed(shown: Hub) -> None:
    with shown.client("ana") as client:
        text = client.get(f"/jobs/{shown.numbers['failed']}?stream=stderr").text
    assert f'data-size="{len("Traceback: <script>window.hacked=1</script>") + 1}"' in text


def test_a_statement_adds_up(shown: Hub) -> None:
    with shown.client("ana") as client:
        text = client.get("/projects/climate").text
        assert text.count("Entries sum to zero") == 2
        assert "do not sum" not in text
        assert "for the &lt;b&gt;tests&lt;/b&gt;" in text
        month = client.get("/projects/climate?month=2027-01").text
        assert month.count("Entries sum to zero") == 2
        assert "Nothing happened" in client.get("/projects/climate?month=2026-12").text


def test_the_entries_as_csv_hold_the_same_amounts(hub: Hub) -> None:
    hub.submit(hub.actor("ana"), gpu("=cmd()", 1))
    with hub.client("ana") as client:
        answer = client.get("/projects/climate/statement.csv?month=2027-01")
        assert answer.headers["content-disposition"].endswith('"statement-climate-2027-01.csv"')
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        statement = client.get("/api/v1/projects/climate/statement?month=2027-01").json()
    for each in statement["types"]:
        for kind in each["kinds"]:
            amounts = [
                int(row["accelerator_seconds"])
                for row in rows
                if row["kind"] == kind["kind"] and row["type"] == each["charged_type"]
            ]
            assert (len(amounts), sum(amounts)) == (kind["entries"], kind["amount_s"])


def test_commands_that_pages_name_exist() -> None:
    folder = resources.files("meyrin.hub.reports") / "templates"
    texts = [each.read_text("utf-8") for each in Path(str(folder)).rglob("*.html")]
    named = {found for text in texts for found in re.findall(r"<code>meyrin ([a-z ]+)", text)}
    assert len(named) > 6
    for words in named:
        known = [word for word in words.split() if word not in {"train", "python"}]
        done = CliRunner().invoke(cli, [*known, "--help"])
        assert done.exit_code == 0, (words, done.output)


# --- monitors


def test_metrics_are_numbers_that_prometheus_reads(shown: Hub) -> None:
    with shown.client("ana") as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    line = re.compile(r'# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"\n]*"(,\w+="[^"\n]*")*\})? -?\d+')
    lines = answer.text.splitlines()
    assert all(line.fullmatch(each) for each in lines), answer.text
    for sample in (
        'meyrin_jobs{state="running"} 4',
        'meyrin_jobs{state="completed"} 5',
        'meyrin_site_answers{site="alpha"} 1',
        'meyrin_site_answers{site="gamma"} 0',
        'meyrin_site_drained{site="delta"} 1',
        'meyrin_site_capacity{site="alpha",type="h100",use="free"} 8',
        'meyrin_placements_total{site="alpha"} 23',
    ):
        assert sample in lines, sample


def test_health_needs_nobody(shown: Hub) -> None:
    with shown.client() as client:
        answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
