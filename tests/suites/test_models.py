"""Models from elsewhere: an archive at an address, a server that answers, tasks of a package."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.suites.test_runner import IGNORED, run

from meyrin.domain.errors import Failed, InvalidInput, Unreachable
from meyrin.suites import bundle, evidence, facts, models, probe, relay
from meyrin.suites.attempts import AT_RELAY, ATTEMPTS
from meyrin.suites.environment import model_files, weights_digest
from meyrin.suites.execute import Asked
from meyrin.suites.jail import Jail
from meyrin.suites.spec import LINES
from meyrin.suites.suite import Limits, find
from meyrin.suites.tiny import TinyModel, load

Model = Callable[[str], Path]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(*IGNORED)]


class Served:
    """A server of files by name, and of one model as `/v1/chat/completions`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.model: TinyModel | None = None
        self.asked: list[dict[str, object]] = []
        self.key = ""  # that it wants, if any
        served = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                raw = served.files.get(self.path.partition("?")[0])
                self.answer(404 if raw is None else 200, raw or b"")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                came = self.headers.get("Authorization", "")
                if served.key and came != f"Bearer {served.key}":
                    self.answer(401, f"{came} is not {served.key}".encode())
                    return
                served.asked.append({"path": self.path, **body})
                assert served.model is not None
                said = served.model.answer(body["messages"][-1]["content"], body["max_tokens"])
                told = {"choices": [{"message": {"role": "assistant", "content": said}}]}
                self.answer(200, json.dumps(told).encode())

            def answer(self, code: int, raw: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def tarred(folder: Path, inner: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        for path in sorted(folder.iterdir()):
            file.add(path, f"{inner}{path.name}")
    return out.getvalue()


@pytest.mark.parametrize("inner", ["", "model-1.0/"])
def test_an_archive_brings_the_model_that_was_packed(
    served: Served, model: Model, tmp_path: Path, inner: str
) -> None:
    raw = tarred(model("good"), inner)
    served.files["/m.tar.gz"] = raw
    where = f"{served.url}/m.tar.gz#sha256={hashlib.sha256(raw).hexdigest()}"
    assert models.is_archive(where)
    brought, source = models.bring(where, tmp_path)
    known = weights_digest(model_files(model("good")))
    assert weights_digest(model_files(brought)) == known
    assert source == where
    if not inner:
        return
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for path in model("good").iterdir():
            file.write(path, path.name)
    served.files["/m.zip"] = out.getvalue()
    (tmp_path / "zip").mkdir()
    secretly = f"{served.url.replace('//', '//me:word@')}/m.zip?signature=1"
    again, source = models.bring(secretly, tmp_path / "zip")
    assert weights_digest(model_files(again)) == known
    zipped = hashlib.sha256(out.getvalue()).hexdigest()
    assert source == f"{served.url}/m.zip#sha256={zipped}"
    (tmp_path / "named").mkdir()
    with pytest.raises(InvalidInput, match="does not say which model it is") as refused:
        models.bring(secretly, tmp_path / "named", named=True)
    assert f"#sha256={zipped}" in refused.value.hint
    assert not list((tmp_path / "named").iterdir())


def locked() -> bytes:
    """A zip that says of its one file that it needs a password."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a", b"x")
    raw = bytearray(out.getvalue())
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    return bytes(raw)


def test_an_archive_that_is_not_what_was_named_is_refused(served: Served, tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        about = tarfile.TarInfo("../outside")
        file.addfile(about)
    linked = io.BytesIO()
    with tarfile.open(fileobj=linked, mode="w") as file:
        about = tarfile.TarInfo("config.json")
        about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(about)
    packed = io.BytesIO()
    numbers = " ".join(map(str, range(20_000))).encode()
    with tarfile.open(fileobj=packed, mode="w") as file:
        part = tarfile.TarInfo("part")
        part.size = len(numbers)
        file.addfile(part, io.BytesIO(numbers))
    damaged = bytearray(gzip.compress(packed.getvalue()))
    damaged[5000:5100] = b"\xff" * 100
    served.files |= {
        "/m.tar": b"no archive", "/leads.tar": out.getvalue(), "/hurt.tar.gz": bytes(damaged),
        "/hurt.tar.xz": lzma.compress(packed.getvalue())[:-5000], "/locked.zip": locked(),
        "/linked.tar": linked.getvalue(),
    }  # fmt: skip
    cases = {
        f"{served.url}/m.tar#sha256={'0' * 64}": (InvalidInput, "is not what"),
        f"{served.url}/m.tar": (InvalidInput, "is no archive"),
        f"{served.url}/leads.tar": (InvalidInput, "is no archive"),
        f"{served.url}/linked.tar": (InvalidInput, "is no archive.*config.json"),
        f"{served.url}/hurt.tar.gz": (InvalidInput, "is no archive"),
        f"{served.url}/hurt.tar.xz": (InvalidInput, "is no archive"),
        f"{served.url}/locked.zip": (InvalidInput, "is no archive"),
        f"{served.url}/none.tar": (Unreachable, "can't be fetched"),
        "http://127.0.0.1:1/m.tar": (Unreachable, "can't be fetched"),
    }
    for number, (where, (kind, words)) in enumerate(cases.items()):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(kind, match=words):
            models.bring(where, place)
    assert not (tmp_path / "outside").exists()


def test_a_served_model_gives_the_facts_that_its_files_give(
    served: Served, model: Model, tmp_path: Path
) -> None:
    served.model = load(model("good"))
    here = run(tmp_path / "files", model("good"), samples=12)
    with relay.opened(f"{served.url}/v1/tiny") as opened:
        there = run(tmp_path / "served", opened.name, samples=12, relay_=str(opened.socket))
    assert opened.told() == {
        "relay": f"{served.url}/v1/chat/completions",
        "asked": 12,
        "refused": 0,
    }
    assert facts.root(there.values()) == facts.root(here.values())
    assert {each["path"] for each in served.asked} == {"/v1/chat/completions"}
    assert {each["model"] for each in served.asked} == {"tiny"}
    assert {each["temperature"] for each in served.asked} == {0}


def test_a_server_that_fails_leaves_samples_without_a_score(served: Served, tmp_path: Path) -> None:
    with relay.opened(f"{served.url}/v1/tiny") as opened:
        found = run(tmp_path, opened.name, samples=4, errors=None, relay_=str(opened.socket))
    assert {sample.score("exact") for sample in found.values()} == {None}
    assert {sample.error for sample in found.values()} == {"HTTPStatusError"}


@pytest.mark.usefixtures("bubblewrap")
def test_a_server_that_answers_nobody_without_its_key_leaves_no_evidence(
    served: Served, model: Model, tmp_path: Path
) -> None:
    served.model, served.key = load(model("good")), "a-key-of-9f3c"
    made = Asked(find("capability"), f"{served.url}/v1/tiny", tmp_path / "out", seed=7, samples=3)
    with pytest.raises(Failed, match="answered no question: its last answer was 401") as failed:
        evidence.make(made, tmp_path / "key", lambda _done, _of: None)
    assert "--model-key" in failed.value.hint
    kept = (tmp_path / "out" / "shard-0" / LINES).read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["error"] for line in kept} == {"HTTPStatusError"}
    assert not list(tmp_path.rglob("evidence.zip"))


def asked(through: Path, first: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(str(through))
        size = len(body) if length is None else length
        asking.sendall(first + b"\r\nContent-Length: %d\r\n\r\n" % size + body)
        return b"".join(iter(lambda: asking.recv(65536), b""))


def test_a_relay_leads_to_the_served_model_and_nowhere_else(served: Served, model: Model) -> None:
    served.model = load(model("good"))
    served.files["/secret"] = b"for the server alone"
    body = json.dumps({"messages": [{"content": "add 1 and 1"}], "max_tokens": 8}).encode()
    with relay.opened(f"{served.url}/v1/tiny") as opened:
        answer = asked(opened.socket, b"POST /chat/completions HTTP/1.1", body)
        assert b" 200 " in answer
        assert b'"assistant"' in answer
        for first in (b"GET /secret", b"POST /secret", b"CONNECT 127.0.0.1:1", b"PUT /v1/models",
                      f"GET {served.url}/secret".encode(), b"POST /chat/completions/../../secret",
                      b"POST http://127.0.0.1:1/chat/completions"):  # fmt: skip
            refused = asked(opened.socket, first + b" HTTP/1.1", body)
            assert b" 403 " in refused.partition(b"\r\n")[0], first
        huge = asked(opened.socket, b"POST /chat/completions HTTP/1.1", b"", 1 << 40)
        assert b" 413 " in huge.partition(b"\r\n")[0]
        assert (opened.asked, opened.refused) == (1, 8)
    assert [each["path"] for each in served.asked] == ["/v1/chat/completions"]
    assert not opened.folder.exists()


def test_a_server_that_repeats_the_key_tells_it_to_nobody(served: Served, model: Model) -> None:
    served.model, served.key = load(model("good")), "a-key-of-9f3c"
    body = json.dumps({"messages": [{"content": "add 1 and 1"}], "max_tokens": 8}).encode()
    first = b"POST /chat/completions HTTP/1.1\r\nAuthorization: Bearer mine"
    with relay.opened(f"{served.url}/v1/tiny", served.key) as opened:
        assert b" 200 " in asked(opened.socket, first, body)
        served.key = "a-key-of-9f3c-and-more"
        answer = asked(opened.socket, first, body)
    assert b" 401 " in answer
    assert b"Bearer (the key) is not (the key)-and-more" in answer
    with relay.opened(f"{served.url}/v1/tiny") as opened:
        assert b" 401 " in asked(opened.socket, first, body)
    assert len(served.asked) == 1


def test_a_relay_answers_so_many_at_once_and_cuts_the_rest_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MOST_AT_ONCE", 4)
    with relay.opened(f"{served.url}/v1/tiny") as opened, ExitStack() as stack:
        for _ in range(4):  # who says nothing holds a place
            idle = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            idle.connect(str(opened.socket))

        def cut() -> bool:
            try:
                return not asked(opened.socket, b"GET / HTTP/1.1")
            except ConnectionError:
                return True

        assert cut()
        idle.close()
        assert not all(cut() for _ in range(500)), "a place that was left is free again"


@pytest.mark.parametrize(
    "where",
    ["http://me:word@host/v1/name", "http://host", "http://host/", "http:///v1/name",
     "http://host/v1/name?key=1", "http://host/v1/name#sha256=1", "http://host:99999/v1/name",
     "http://[::1", "http://me:word@[::1/v1/name", "http://host:port/v1/name"],
)  # fmt: skip
def test_what_is_no_address_of_a_served_model_is_refused(where: str) -> None:
    assert not models.is_archive(where)
    with pytest.raises(InvalidInput, match="is no address of a served model") as refused:
        relay.split(where)
    assert "word" not in refused.value.message.replace("password", "")


@pytest.mark.usefixtures("bubblewrap")
def test_a_served_model_is_asked_from_a_jail_without_network(
    served: Served, model: Model, tmp_path: Path
) -> None:
    """The same walls as for a model's files, measured at the relay too; and it is in the evidence
    how often the server was asked. Of the key that it asks for nothing is left anywhere."""
    served.model, served.key = load(model("good")), "a-key-of-9f3c"
    made = Asked(find("capability"), f"{served.url}/v1/tiny", tmp_path / "out", seed=7, samples=6,
               model_key=served.key)  # fmt: skip
    assert served.key not in repr(made)
    found, path = evidence.make(made, tmp_path / "key", lambda _done, _of: None)
    same = run(tmp_path / "files", model("good"), samples=6)
    assert found.root == facts.root(same.values())
    assert (found.run.isolation.level, found.run.isolation.broken) == (2, ())
    assert found.run.isolation.held == (*ATTEMPTS, *AT_RELAY)
    assert found.run.isolation.by.endswith(f" with a relay to {served.url}/v1 alone")
    told = json.loads(bundle.unzipped(path.read_bytes())[bundle.REACHED])
    wanted = {"relay": f"{served.url}/v1/chat/completions", "asked": 6, "refused": 0}
    assert told == wanted | {"keyed": True}
    left = [each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()]
    left += bundle.unzipped(path.read_bytes()).values()
    assert not any(served.key.encode() in raw for raw in left)


@pytest.mark.usefixtures("bubblewrap")
def test_a_relay_that_leads_elsewhere_too_is_seen(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_refused", lambda *_: False)
    (tmp_path / "out").mkdir()
    with relay.opened(f"{served.url}/v1/tiny") as opened:
        jail = Jail(Limits(memory_mb=400), tmp_path / "out", also=(opened.folder,))
        found = probe.measure(jail, "a relay for all", opened.socket)
    assert "relay" in found.broken
    assert found.level == 0


EVALS = {
    "__init__.py": "",
    "_registry.py": "from .several import second\n",
    "tiny_sums.py": """
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate

@task
def tiny_sums():
    made = [Sample(input=f"add {n} and 1", target=str(n + 1)) for n in range(6)]
    return Task(dataset=MemoryDataset(made), solver=generate(), scorer=match())
""",
    "several.py": "from .tiny_sums import tiny_sums\n\ndef second():\n    return tiny_sums()\n",
    "needy.py": "import none_such_package\n",
}


@pytest.fixture
def evals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is announced as inspect_evals is: that one is not in the lock."""
    folder = tmp_path / "installed"
    package, about = folder / "inspect_evals", folder / "inspect_evals-9.1.dist-info"
    package.mkdir(parents=True)
    about.mkdir()
    for name, text in EVALS.items():
        (package / name).write_text(text, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: inspect_evals\nVersion: 9.1\n")
    entry = "[inspect_ai]\ninspect_evals = inspect_evals._registry\n"
    (about / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.usefixtures("evals")
def test_tasks_of_inspect_evals_are_found_by_their_names(model: Model, tmp_path: Path) -> None:
    assert find("inspect_evals/tiny_sums").version == "9.1"
    for name in ("tiny_sums", "second"):
        found = run(tmp_path / name, model("good"), suite=f"inspect_evals/{name}", samples=4)
        assert {sample.task for sample in found.values()} == {name}
        assert len(found) == 4
        assert {sample.score("match") for sample in found.values()} == {1.0}
    with pytest.raises(InvalidInput, match="has no task third"):
        run(tmp_path / "third", model("good"), suite="inspect_evals/third", samples=4)
    with pytest.raises(InvalidInput, match="needs none_such_package"):
        run(tmp_path / "needy", model("good"), suite="inspect_evals/needy", samples=4)
