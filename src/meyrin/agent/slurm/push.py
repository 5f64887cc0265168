"""Starts and ends that wrappers tell at once: one small UDP datagram each, from the node.

    meyrin1 ATTEMPT RUN KIND WORD

It is a hint where to look, never a fact: what counts is the file in the spool, and what Slurm
says. Lost, repeated, late or forged ones change nothing but when the agent looks. WORD is an HMAC
over attempt and kind with a key of the agent's; the wrapper finds it in the job's own file, so a
datagram can't be made up by others, and one that was overheard says only what it said before.

Whether nodes reach the agent it finds out by itself: facts that came to the spool are compared
with those that were told. The file `push` in the spool says where to; while it is not there,
wrappers tell nobody.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import json
import re
import select
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from meyrin.agent.slurm.spool import TOLD, News, Spool

log = structlog.get_logger("meyrin.slurm")
REACHED = "push.json"
_MOST_BYTES = 160
_FORM = re.compile(rb"meyrin1 ([0-9A-Za-z-]{1,64}) (\d{1,6}) ([a-z]{1,8}) ([0-9a-f]{32})\n?")
_PER_S, _BURST = 500.0, 2000.0  # datagrams that are looked at; what is over waits or is dropped
_REMEMBERED = 10_000
_GRACE_S = 2.0  # that a datagram may come after the fact that it tells of
_MISSED = 3  # facts in a row that nobody told of: nodes do not reach us
_AGAIN_S = 600.0
_ATTENTION_MS = 500
_ADDRESSES = 3


@dataclass(frozen=True, slots=True)
class Reached:
    """What is known of nodes reaching the agent: `yes`, `no`, or `""` while nothing has run.

    `where` is what nodes send to."""

    word: str = ""
    where: tuple[str, ...] = ()
    at_s: int = 0

    def in_words(self) -> str:
        places = ", ".join(self.where)
        if self.word == "yes":
            return f"nodes tell starts and ends at once (UDP to {places})"
        if self.word == "no":
            return f"nodes do not reach the agent (UDP to {places}): news come by the spool alone"
        if self.where:
            return f"the next job shows whether nodes reach the agent (UDP to {places})"
        return "news come by the spool alone"


def word_for(key: bytes, attempt: str, kind: str) -> str:
    """What a wrapper must say with its news."""
    return hmac.new(key, f"{attempt} {kind}".encode(), hashlib.sha256).hexdigest()[:32]


def words_for(key: bytes, attempt: str) -> dict[str, str]:
    return {kind: word_for(key, attempt, kind) for kind in TOLD}


def parse(key: bytes, data: bytes) -> News | None:
    """The news in a datagram; None when it is not one of our wrappers'."""
    if len(data) > _MOST_BYTES:
        return None
    found = _FORM.fullmatch(data)
    if found is None:
        return None
    attempt, run, kind, word = (part.decode("ascii") for part in found.groups())
    if kind not in TOLD or not hmac.compare_digest(word, word_for(key, attempt, kind)):
        return None
    return News(attempt, kind, f"{attempt}.{int(run)}.{kind}")


class Bucket:
    """How much may be done now: `per_s` on average, `burst` at once."""

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._left, self._at_s = burst, now_s

    def wait_s(self, now_s: float) -> float:
        """Take one; or how long until there is one to take."""
        passed = max(0.0, now_s - self._at_s)
        self._left, self._at_s = min(self._burst, self._left + passed * self._per_s), now_s
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._per_s


class Ledger:
    """Which facts were told and which were only found, and what follows from that. Safe to use
    from several threads."""

    def __init__(self, known: Reached, clock_s: Callable[[], float]) -> None:
        self._known, self._clock_s = known, clock_s
        self._lock = threading.Lock()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._found: dict[str, float] = {}
        self._missed = 0
        self._from_s = 0.0  # facts that were found before are older than the invitation

    @property
    def known(self) -> Reached:
        return self._known

    def opened(self, where: tuple[str, ...]) -> None:
        """Wrappers are told where to send; what was found out with other places is old."""
        with self._lock:
            word = self._known.word if where == self._known.where else ""
            self._known = Reached(word, where, int(self._clock_s()))
            self._missed, self._from_s = 0, self._clock_s() + _GRACE_S
            self._found.clear()

    def tell(self, news: News) -> bool:
        """One was told; whether it is new."""
        with self._lock:
            if news.file in self._told:
                return False
            self._told[news.file] = None
            while len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            self._found.pop(news.file, None)
            self._missed = 0
            self._set("yes")
            return True

    def find(self, news: Iterable[News]) -> bool:
        """These were seen in the spool; whether too many in a row were not told since we began to
        listen."""
        now = self._clock_s()
        with self._lock:
            new = [n for n in news if n.kind in TOLD and n.file not in self._told]
            for each in new if now >= self._from_s else ():
                if len(self._found) < _REMEMBERED:
                    self._found.setdefault(each.file, now)
            late = [file for file, at in self._found.items() if now - at > _GRACE_S]
            for file in late:
                del self._found[file]
            self._missed += len(late)
            if self._missed >= _MISSED:
                self._set("no")
            return self._missed >= _MISSED

    def _set(self, word: str) -> None:
        if word != self._known.word:
            self._known = Reached(word, self._known.where, int(self._clock_s()))
            log.info("slurm.push", nodes_reach_us=word, where=self._known.where)


class Push:
    """The door that datagrams come in by; nothing ever goes out there. `heard` is called when
    there is something to take, from a thread of the door's own.

    `file` keeps what was found out, for whoever looks at the agent from outside."""

    def __init__(
        self,
        spool: Spool,
        key: bytes,
        file: Path,
        heard: Callable[[], None],
        *,
        clock_s: Callable[[], float] = time.time,
        port: int = 0,
    ) -> None:
        self.key = key
        self._spool, self._file, self._heard = spool, file, heard
        self._clock_s, self._port = clock_s, port
        self.ledger = Ledger(read(file), clock_s)
        self._kept = self.ledger.known
        self._taken: list[News] = []
        self._lock = threading.Lock()
        self._doors: dict[str, socket.socket] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._shut_s: float | None = None

    @property
    def works(self) -> bool:
        """Whether nodes reach us, as far as is known now."""
        return self._thread is not None and self.ledger.known.word == "yes"

    def open(self, addresses: Sequence[str]) -> None:
        """Listen at these, and let wrappers know where; again when they change. Without one, or
        where it can't be, nothing changes but that news come later."""
        wanted = addresses[:_ADDRESSES]
        fresh = [address for address in wanted if address not in self._doors]
        if not fresh or self._stop.is_set():
            return
        for address in fresh:
            try:
                self._doors[address] = _listen(address, self._port)
            except OSError as error:
                log.warning("slurm.push_off", error=str(error), address=address, port=self._port)
        if self._doors:
            self._invite()
        if self._doors and self._thread is None:
            self._thread = threading.Thread(target=self._attend, name="slurm-push", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wrappers tell nobody any more."""
        self._stop.set()
        if self._thread is None:
            return
        with contextlib.suppress(OSError):
            self._spool.invite(())
        self._thread.join(5)
        for door in self._doors.values():
            door.close()
        self._keep()

    def waits(self) -> bool:
        """Whether there is something to take."""
        return bool(self._taken)

    def take(self) -> list[News]:
        """What was told since the last time."""
        with self._lock:
            taken, self._taken = self._taken, []
            return taken

    def found(self, news: Iterable[News]) -> None:
        """These were found in the spool, told before or not."""
        if self._thread is None:
            return
        now = self._clock_s()
        if self._shut_s is None:
            if self.ledger.find(news):
                self._shut_s = now
                with contextlib.suppress(OSError):
                    self._spool.invite(())
        elif abs(now - self._shut_s) > _AGAIN_S:
            self._shut_s = None
            self._invite()
        self._keep()

    def _invite(self) -> None:
        ports = {address: door.getsockname()[1] for address, door in self._doors.items()}
        try:
            self._spool.invite([f"/dev/udp/{address}/{port}" for address, port in ports.items()])
        except OSError as error:
            log.warning("slurm.push_off", error=str(error))
        self.ledger.opened(tuple(f"{address} port {port}" for address, port in ports.items()))

    def _keep(self) -> None:
        known = self.ledger.known
        if known != self._kept:
            self._kept = known
            part = self._file.with_suffix(".new")
            with contextlib.suppress(OSError):
                part.write_text(json.dumps(asdict(known)))
                part.replace(self._file)

    def _attend(self) -> None:
        bucket = Bucket(_PER_S, _BURST, time.monotonic())
        foreign, said_s = 0, -60.0
        while not self._stop.is_set():
            for door in _knocked(list(self._doors.values())):
                # what comes faster stays with the system, which drops what it has no room for
                if (wait_s := bucket.wait_s(time.monotonic())) > 0:
                    self._stop.wait(wait_s)
                foreign += not self._let_in(door)
            now = time.monotonic()
            if foreign and now - said_s >= 60:
                log.warning("slurm.push_foreign", datagrams=foreign)
                foreign, said_s = 0, now

    def _let_in(self, door: socket.socket) -> bool:
        """Take one datagram; whether it was a wrapper's."""
        try:
            data = door.recv(_MOST_BYTES + 1)
        except OSError:
            return True  # none after all
        news = parse(self.key, data)
        if news is not None and self.ledger.tell(news):
            with self._lock:
                self._taken.append(news)
            self._heard()
        return news is not None


def read(file: Path) -> Reached:
    """What an agent found out, or nothing yet."""
    try:
        body = json.loads(file.read_text())
        return Reached(str(body["word"]), tuple(body["where"]), int(body["at_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Reached()


def _knocked(doors: Sequence[socket.socket]) -> list[socket.socket]:
    """Those with something to read; waits a moment for one."""
    poll = select.poll()
    by_number = {door.fileno(): door for door in doors}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(_ATTENTION_MS)]


def _listen(address: str, port: int) -> socket.socket:
    """At this address alone; where it is not this machine's own (a way in from outside), at all."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for own in (address, "::" if ":" in address else ""):
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.bind((own, port))
        except OSError as error:
            made.close()
            if error.errno != errno.EADDRNOTAVAIL or own != address:
                raise
        else:
            return made
    raise AssertionError("one of them was raised or returned")


def seen_from(nodes: Sequence[str]) -> tuple[str, ...]:
    """This machine's addresses as nodes see them: those that it would reach them from. Asked of
    the kernel, by a few of the nodes' addresses; nothing is sent."""
    found: dict[str, None] = {}
    for node in dict.fromkeys(nodes[i] for i in (0, len(nodes) // 2, -1) if nodes):
        with contextlib.suppress(OSError):
            family, kind, _, _, to = socket.getaddrinfo(node, 9, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as way:
                way.connect(to)
                found.setdefault(way.getsockname()[0].partition("%")[0])
    return tuple(found)
