"""The way to slurmrestd: tokens, errors inside good answers, sockets, what is in doubt."""

from __future__ import annotations

import base64
import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import httpx2
import pytest

from meyrin.agent.config import SlurmConfig
from meyrin.agent.slurm.rest import Rest
from meyrin.agent.slurm.rest_http import Token
from meyrin.agent.slurm.transport import NotAccepted, Submission
from meyrin.domain.errors import InvalidInput, Unreachable

JOB = Submission("m-1", "#!/bin/bash\n", "gpu", "/w", "/w/out")
META = {"meta": {"slurm": {"release": "25.05.4", "cluster": "c"}}}


class Answers:
    """Says what it is told to; `said` holds headers and bodies that came."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.said = []

    def __call__(self, request):
        self.said.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def rest(self, clock=lambda: 0.0, **settings):
        config = SlurmConfig(
            transport="rest", rest_url="http://s:1", rest_version="v0.0.43", **settings
        )
        return Rest(config, "ada", clock, transport=httpx2.MockTransport(self), uid_of=lambda _: 1)


def ok(**body):
    return httpx2.Response(200, json=META | {"errors": [], "warnings": []} | body)


def bad(number, words, status=200, **body):
    entry = {"error_number": number, "error": words, "description": "d"}
    return httpx2.Response(status, json=META | {"errors": [entry]} | body)


def test_an_error_inside_a_good_answer_is_an_error():
    with pytest.raises(Unreachable, match="Zero Bytes"):
        Answers(bad(1005, "Zero Bytes were transmitted or received", jobs=[])).rest().queue()


def test_a_name_of_any_bytes_among_others_jobs_hides_none():
    """A real 22.05 hands on the name of `sbatch --job-name=$'caf\\xe9'` as it is."""
    mine = {"job_id": 1, "name": "m-1", "user_name": "ada", "job_state": ["RUNNING"]}
    other = {"job_id": 2, "name": "caf?", "user_name": "bob", "job_state": ["PENDING"]}
    body = ok(jobs=[mine, other]).content.replace(b"caf?", b"caf\xe9")
    rest = Answers(httpx2.Response(200, content=body)).rest()
    assert [row.batch_job for row in rest.queue(["m-1"])] == ["1"]
    assert len(rest.whole_queue()) == 2


@pytest.mark.parametrize("status", [200, 500])
def test_a_no_to_a_submission_whatever_the_status(status):
    with pytest.raises(NotAccepted, match="Invalid feature") as caught:
        Answers(bad(2029, "Invalid feature", status, job_id=0)).rest().submit(JOB)
    assert not caught.value.later


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (2007, "Unable to create job record, try again"),
        (2016, "Requested nodes are busy"),
        (2050, "limit"),
        (2070, "drain"),
        (2045, "Invalid account"),
        (2131, "Controller is in standby mode, try a different controller"),
    ],
)
def test_some_nos_may_become_a_yes(number, words):
    with pytest.raises(NotAccepted) as caught:
        Answers(bad(number, words)).rest().submit(JOB)
    assert caught.value.later


def test_a_denied_job_is_told_apart():
    with pytest.raises(NotAccepted) as caught:
        Answers(bad(2002, "Access/permission denied")).rest().submit(JOB)
    assert (caught.value.denied, caught.value.later) == (True, False)


def test_a_job_that_was_made_counts_whatever_else_is_said():
    answer = bad(2016, "Requested nodes are busy", job_id=17)
    assert Answers(answer).rest().submit(JOB) == "17"
    assert Answers(ok(result={"job_id": 18})).rest().submit(JOB) == "18"


@pytest.mark.parametrize(
    "answer",
    [
        bad(1005, "Zero Bytes were transmitted or received", 500),
        bad(-1, "Unspecified error", 500),
        httpx2.Response(502, text="bad gateway"),
        httpx2.Response(200, text="not json"),
        ok(),
        ok(job_id=0),
        httpx2.ReadTimeout("no answer"),
        httpx2.RemoteProtocolError("cut off"),
        httpx2.ConnectError("nobody"),
    ],
)
def test_anything_else_leaves_a_submission_in_doubt(answer):
    answers = Answers(answer)
    with pytest.raises(Unreachable):
        answers.rest().submit(JOB)
    assert len(answers.said) == 1, "a doubtful submission is never sent again from here"


@pytest.mark.parametrize("by", ["rest_token_file", "rest_token_command"])
def test_an_answer_that_was_cut_is_no_refused_token(tmp_path, by):
    """A real 22.05 whose controller had made the job, and whose answer came to pieces."""
    path = secret(tmp_path, "one")

    def made(_request):
        path.write_text("two")  # there is another token by now
        return bad(1008, "Insane message length", 500)

    answers = Answers(made, ok(job_id=5))
    how = {by: path if by == "rest_token_file" else ("cat", str(path))}
    with pytest.raises(Unreachable) as caught:
        answers.rest(**how).submit(JOB)
    assert len(answers.said) == 1, "a doubtful submission is never sent again from here"
    assert (caught.value.facts["sent"], caught.value.facts["unclear"]) == (True, False)


def test_what_never_left_says_so():
    with pytest.raises(Unreachable) as caught:
        Answers(httpx2.ConnectError("nobody")).rest().submit(JOB)
    assert caught.value.facts["sent"] is False


def test_a_controller_that_slurmrestd_could_not_connect_to_has_heard_nothing():
    for number, sent in ((1800, False), (1801, True), (1802, True)):
        with pytest.raises(Unreachable) as caught:
            Answers(bad(number, "Unable to contact slurm controller", 500)).rest().submit(JOB)
        facts = caught.value.facts
        assert (facts["sent"], facts["unclear"]) == (sent, False)


@pytest.mark.parametrize("fixed", ["v0.0.36", None])
def test_slurmrestd_of_20_11_is_not_used(fixed):
    """Its accounting says SUCCESS of everything, and reasons where states should be."""
    old = httpx2.Response(200, json={"meta": {"Slurm": {"release": "20.11.4"}}, "pings": []})
    config = SlurmConfig(transport="rest", rest_url="http://s:1", rest_version=fixed)
    there = httpx2.MockTransport(Answers(old))
    rest = Rest(config, "ada", lambda: 0.0, transport=there, uid_of=lambda _: 1)
    with pytest.raises(Unreachable, match=r"20\.11\.4") as caught:
        rest.queue()
    assert "command" in caught.value.hint
    assert not rest.health().controller


def secret(tmp_path, text, mode=0o600):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_token_is_read_anew_for_every_question(tmp_path):
    path = secret(tmp_path, "SLURM_JWT=one\n")
    answers = Answers(ok(jobs=[]))
    rest = answers.rest(rest_token_file=path, rest_user="site")
    rest.queue()
    path.write_text("two\n")
    rest.queue()
    told = [(r.headers["X-SLURM-USER-NAME"], r.headers["X-SLURM-USER-TOKEN"]) for r in answers.said]
    assert told == [("site", "one"), ("site", "two")]


@pytest.mark.parametrize(
    "refusal",
    [
        httpx2.Response(401, text="Authentication failure"),
        bad(1007, "Protocol authentication error", 500),
    ],
)
def test_a_token_that_is_renewed_meanwhile_is_tried_once_more(tmp_path, refusal):
    path = secret(tmp_path, "one")

    def renew(_request):
        path.write_text("two")
        return refusal

    answers = Answers(renew, ok(job_id=5))
    rest = answers.rest(rest_token_file=path)
    assert rest.submit(JOB) == "5"
    assert [each.headers["X-SLURM-USER-TOKEN"] for each in answers.said] == ["one", "two"]


def test_a_refused_token_is_told_without_the_token(tmp_path):
    path = secret(tmp_path, "very-secret")
    answers = Answers(bad(1007, "Protocol authentication error", jobs=[]))
    with pytest.raises(Unreachable) as caught:
        answers.rest(rest_token_file=path).queue()
    assert "very-secret" not in f"{caught.value} {caught.value.hint} {caught.value.facts}"
    assert "rest_token_file" in caught.value.hint
    assert len(answers.said) == 1


def test_a_token_file_that_others_can_read_is_not_used(tmp_path):
    path = secret(tmp_path, "one", mode=0o644)
    answers = Answers(ok(jobs=[]))
    with pytest.raises(Unreachable, match="read by others"):
        answers.rest(rest_token_file=path).queue()
    assert not answers.said


@pytest.mark.parametrize("said", ["\ufeffone\n", "\ufeffSLURM_JWT=one", " one \n"])
def test_a_mark_at_the_begin_of_a_token_is_left_out(tmp_path, said):
    path = secret(tmp_path, said)
    for how in ({"rest_token_file": path}, {"rest_token_command": ("cat", str(path))}):
        answers = Answers(ok(job_id=5))
        assert answers.rest(**how).submit(JOB) == "5"
        assert answers.said[0].headers["X-SLURM-USER-TOKEN"] == "one"


@pytest.mark.parametrize(
    "said", [b"", b"one\n# renewed by cron\n", "on\u00e9".encode(), b"on\xe9", b"on\x07e"]
)
def test_what_is_no_token_is_never_sent(tmp_path, said):
    path = tmp_path / "token"
    path.write_bytes(said)
    path.chmod(0o600)
    for how in ({"rest_token_file": path}, {"rest_token_command": ("cat", str(path))}):
        answers = Answers(ok(job_id=5))
        with pytest.raises(Unreachable, match="token") as caught:
            answers.rest(**how).submit(JOB)
        assert (caught.value.facts["sent"], answers.said) == (False, [])
        assert not answers.rest(**how).health().controller


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_submission_whose_token_is_refused_surely_made_no_job(tmp_path, status):
    number, words = (1007, "Protocol authentication error")
    answers = Answers(bad(9999 if status == 401 else number, words, status))
    with pytest.raises(Unreachable) as caught:
        answers.rest(rest_token_file=secret(tmp_path, "one")).submit(JOB)
    assert caught.value.facts["sent"] is False


def test_without_a_token_an_answer_that_is_not_trusted_leaves_a_doubt():
    with pytest.raises(Unreachable) as caught:
        Answers(bad(1007, "Protocol authentication error")).rest().submit(JOB)
    assert caught.value.facts["sent"] is True


def test_a_submission_without_a_token_that_can_be_read_or_a_version_asks_for_nothing(tmp_path):
    answers = Answers(ok(job_id=5))
    nowhere = Answers(httpx2.Response(404, text="no"))
    config = SlurmConfig(rest_url="http://s:1")
    lost = Rest(config, "ada", lambda: 0.0, transport=httpx2.MockTransport(nowhere))
    for rest in (
        answers.rest(rest_token_file=secret(tmp_path, "one", mode=0o644)),
        answers.rest(rest_token_file=tmp_path / "none"),
        answers.rest(rest_token_command=("/nonexistent/mint",)),
        answers.rest(rest_token_command=("false",)),
        lost,
    ):
        with pytest.raises(Unreachable) as caught:
            rest.submit(JOB)
        assert caught.value.facts["sent"] is False
    assert not answers.said


def test_a_vague_answer_names_the_token_where_one_is_used(tmp_path):
    """What Slurm says of a token that is none at all."""
    answers = Answers(bad(-1, "Unable to load slurmctld config", 500))
    with pytest.raises(Unreachable) as caught:
        answers.rest(rest_token_file=secret(tmp_path, "garbage")).describe()
    assert caught.value.hint.startswith("see `scontrol ping`; look at the token (rest_token_file")
    with pytest.raises(Unreachable) as caught:
        answers.rest().describe()
    assert not caught.value.hint


def jwt(exp):
    claims = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).decode().rstrip("=")
    return f"e30.{claims}.sig"


def test_a_command_is_asked_again_before_its_token_ends(tmp_path):
    counter = tmp_path / "asked"
    script = tmp_path / "mint"
    script.write_text(f"#!/bin/sh\necho x >> {counter}\necho SLURM_JWT={jwt(1000)}\n")
    script.chmod(0o700)
    now = [0.0]
    token = Token(None, (str(script),), lambda: now[0])

    def asked():
        return len(counter.read_text().split())

    assert token.now() == jwt(1000)
    now[0] = 700.0
    token.now()
    assert asked() == 1
    now[0] = 801.0
    token.now()
    assert asked() == 2
    assert token.refused(token.now())
    token.now()
    assert asked() == 3


def test_a_command_that_gives_none_is_named_without_its_output(tmp_path):
    script = tmp_path / "mint"
    script.write_text("#!/bin/sh\necho half a-secret\nexit 1\n")
    script.chmod(0o700)
    with pytest.raises(Unreachable, match="exit code 1") as caught:
        Token(None, (str(script),), lambda: 0.0).now()
    assert "a-secret" not in str(caught.value)


def test_commas_are_escaped_and_many_names_are_asked_in_parts():
    answers = Answers(ok(jobs=[]))
    answers.rest().accounting([f"m-{n}" for n in range(250)], 7)
    raw = [str(r.url.query.decode()) for r in answers.said]
    assert len(raw) == 2
    assert all("," not in each and "%2C" in each and "start_time=uts7" in each for each in raw)


def test_a_replaced_slurmrestd_is_asked_anew_which_version_it_speaks():
    spoken = ["v0.0.43"]

    def serve(request):
        version = request.url.path.split("/")[2]
        if version not in spoken:
            return httpx2.Response(404, text="Unable find requested URL.")
        return ok(jobs=[], pings=[])

    config = SlurmConfig(rest_url="http://s:1")
    rest = Rest(config, "ada", lambda: 0.0, transport=httpx2.MockTransport(serve))
    assert rest.queue() == []
    spoken[:] = ["v0.0.40"]
    with pytest.raises(Unreachable):
        rest.queue()
    assert rest.queue() == []
    spoken.clear()
    assert not rest.health().controller


def test_no_version_in_common_is_said_with_the_way_out():
    answers = Answers(httpx2.Response(404, text="no"))
    rest = Rest(SlurmConfig(rest_url="http://s:1"), "ada", lambda: 0.0,
                transport=httpx2.MockTransport(answers))  # fmt: skip
    with pytest.raises(Unreachable) as caught:
        rest.queue()
    assert "rest_version" in caught.value.hint


@pytest.mark.parametrize("url", ["", "ftp://x", "unix:relative", "slurm.example:6820"])
def test_an_address_that_cannot_be_one_is_refused_at_once(url):
    with pytest.raises(InvalidInput):
        Rest(SlurmConfig(rest_url=url), "ada", lambda: 0.0)


def test_a_version_that_is_not_known_is_refused_at_once():
    with pytest.raises(InvalidInput, match=r"v0\.0\.99"):
        Rest(SlurmConfig(rest_url="http://s:1", rest_version="v0.0.99"), "ada", lambda: 0.0)


def test_health_tells_the_parts_apart():
    up = ok(pings=[{"pinged": "UP"}])
    assert Answers(up, ok(clusters=[1])).rest().health().accounting is True
    none = Answers(up, httpx2.Response(404, text="Unable find requested URL.")).rest().health()
    assert (none.controller, none.accounting) == (True, None)
    away = Answers(up, bad(1, "can't connect", 500)).rest().health()
    assert (away.controller, away.accounting) == (True, False)
    down = Answers(ok(pings=[{"pinged": "DOWN"}]), ok(clusters=[1])).rest().health()
    assert not down.controller
    gone = Answers(httpx2.ConnectError("nobody")).rest().health()
    assert (gone.controller, gone.accounting) == (False, None)
    assert "can't be reached" in gone.words


@pytest.mark.parametrize(
    "no",
    [
        bad(2020, "Job is in transition state", 500),
        bad(2010, "Access denied", 500),
        bad(-1, "Unspecified error", 500),
        httpx2.Response(500, json=META | {"errors": [{"error": "job can't be signalled"}]}),
    ],
)
def test_a_job_that_cannot_be_ended_now_leaves_none_of_the_others_running(no):
    answers = Answers(no, ok(), no)
    answers.rest().cancel(["1", "2", "3"])  # Slurm answers: nobody need wait for it
    assert len(answers.said) == 3


@pytest.mark.parametrize(
    "away",
    [
        bad(1005, "Zero Bytes were transmitted or received", 500),
        bad(1007, "Protocol authentication error", 500),
        httpx2.Response(502, text="Bad Gateway"),
    ],
)
def test_a_controller_that_is_away_is_not_asked_for_each_end(away):
    answers = Answers(away)
    with pytest.raises(Unreachable, match="job 1"):
        answers.rest().cancel(["1", "2", "3"])
    assert len(answers.said) == 1


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(META | {"errors": [], "jobs": []}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def address_string(self):
        return "unix"


def test_a_unix_socket_needs_no_token(tmp_path):
    path = tmp_path / "restd.sock"
    server = _Unix(str(path), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        rest = Rest(
            SlurmConfig(rest_url=f"unix:{path}", rest_version="v0.0.43"), "ada", lambda: 0.0
        )
        assert rest.queue() == []
        rest.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
