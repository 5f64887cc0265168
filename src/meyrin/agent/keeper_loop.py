"""The keeper's one loop: signals, sockets and time; no threads, and nothing waits but `select`.

A turn reads what came, reaps, starts what is claimed and fits, and asks for one sync of all that
was recorded; what may only be said when it is durable is said when that sync has come back. So a
batch of submits, the ends before it and the claims after it share one sync.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from meyrin.agent.batch import Phase
from meyrin.agent.keeper_jobs import SECOND, Jobs, Run
from meyrin.agent.keeper_proc import (
    up_ns,
)
from meyrin.agent.keeper_recover import Recovery
from meyrin.agent.keeper_state import State
from meyrin.agent.keeper_wire import Body, Frames, dump, frame, unpack_starts

LINGER_NS = SECOND // 50  # changes are told at most this often, so that many share one answer
LOOK_S = 60.0  # how often an idle keeper looks whether its folder is still there
MOST_TOLD = 2000
_FOREVER = 1 << 62


@dataclass(eq=False, slots=True)
class Connection:
    sock: socket.socket
    frames: Frames = field(default_factory=Frames)
    out: bytearray = field(default_factory=bytearray)
    after_seq: int = -1  # >= 0: waits for changes after it
    deadline_ns: int = 0
    open: bool = True


class Loop:
    """Serves clients until told to stop and idle."""

    def __init__(
        self, state: State, jobs: Jobs, recovery: Recovery, listener: socket.socket, epoch: str
    ) -> None:
        self._state = state
        self._jobs = jobs
        self._recovery = recovery
        self._listener = listener
        self._epoch = epoch
        self._stopping = False
        self._full = False
        self._connections: set[Connection] = set()
        self._answers: deque[tuple[int, Connection, Body]] = deque()
        self._told_ns = 0
        self._selector = selectors.DefaultSelector()
        self._pipe = socket.socketpair()
        self._verbs: dict[str, Callable[[Connection, Body, bytes], Body | None]] = {
            "hello": self._hello,
            "submit": self._submit,
            "look_up": self._look_up,
            "changes": self._changes,
            "cancel": self._cancel,
            "output": self._output,
            "forget": self._forget,
            "stop": self._stop,
        }

    def run(self, adopted: list[Run], ready: Callable[[], None]) -> None:
        self._signals()
        self._start_syncer()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        for run in adopted:
            self._watch(run)
        ready()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)  # its records refer to nothing that refers to them
        self._jobs.reap()  # what ended before the signals were ours
        self._recovery.written_down(self._jobs)
        while not (self._stopping and self._jobs.idle and self._state.journal.durable):
            self._turn()

    def _signals(self) -> None:
        reading, writing = self._pipe
        reading.setblocking(False)
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(reading, selectors.EVENT_READ, self._signalled)

    def _watch(self, run: Run) -> None:
        if run.pidfd < 0:
            return

        def leader_ended(_: int) -> None:
            self._selector.unregister(run.pidfd)
            self._recovery.leader_ended(self._jobs, run)

        self._selector.register(run.pidfd, selectors.EVENT_READ, leader_ended)

    def _turn(self) -> None:
        journal = self._state.journal
        ready = self._selector.select(self._timeout())
        for key, events in ready:
            key.data(events)
        if not ready and self._jobs.idle and not journal.in_place():
            self._stopping = True  # somebody removed the folder: nobody will ask again
        self._jobs.tick()
        self._jobs.schedule()
        self._tell()
        if self._stopping and self._jobs.idle:
            journal.sync()
        self._full = not journal.flush()
        journal.ask()
        while self._answers and self._answers[0][0] <= journal.safe:
            _, one, body = self._answers.popleft()
            self._send(one, body)
        if self._state.compact_if_large():
            self._start_syncer()

    def _start_syncer(self) -> None:
        journal = self._state.journal
        if journal.syncer:
            self._selector.unregister(journal.syncer.answers)
            journal.syncer.close()
        syncer = journal.start_syncer()
        self._selector.register(syncer.answers, selectors.EVENT_READ, self._synced)

    def _synced(self, _: int) -> None:
        if not self._state.journal.synced():
            self._start_syncer()

    def _timeout(self) -> float:
        if self._jobs.more:
            return 0.0
        due = min(self._jobs.due_ns(), self._jobs.retry_ns)
        for one in self._connections:
            if one.after_seq >= 0:
                due = min(due, one.deadline_ns)
                if one.after_seq < self._state.seq:
                    due = min(due, self._told_ns + LINGER_NS)
        if self._full:
            due = min(due, up_ns() + SECOND)
        # rounded up to a millisecond by epoll; the longest wait bounds a change of its clock
        return min(LOOK_S, max(0.0, (due - up_ns()) / SECOND))

    def _signalled(self, _: int) -> None:
        with suppress(BlockingIOError):
            numbers = self._pipe[0].recv(4096)
            if signal.SIGCHLD in numbers:
                self._jobs.reap()
            if signal.SIGUSR1 in numbers:
                self._recovery.written_down(self._jobs)
            if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                self._stopping = True

    # sockets

    def _accept(self, _: int) -> None:
        with suppress(BlockingIOError):
            sock, _address = self._listener.accept()
            peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            _pid, uid, _gid = struct.unpack("iII", peer)
            if uid not in (0, os.geteuid()):
                sock.close()
                return
            sock.setblocking(False)
            one = Connection(sock)
            self._connections.add(one)
            self._selector.register(sock, selectors.EVENT_READ, lambda e: self._ready(one, e))

    def _ready(self, one: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(one)
        if not one.open or not events & selectors.EVENT_READ:
            return
        try:
            data = one.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(one)
            return
        try:
            for payload in one.frames.feed(data):
                self._serve(one, payload)
        except ValueError:
            self._close(one)

    def _serve(self, one: Connection, payload: bytes) -> None:
        try:
            body = json.loads(payload)
            answer = self._verbs[body["do"]](one, body, payload)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            message = f"the keeper can't read this request: {error!r}"
            answer = {"error": "invalid_input", "message": message}
        except OSError as error:
            answer = {"error": "storage_full", "message": f"the journal has no room: {error}"}
        if answer is not None:
            self._send(one, answer)

    def _close(self, one: Connection) -> None:
        if one.open:
            one.open = False
            self._connections.discard(one)
            self._selector.unregister(one.sock)
            one.sock.close()

    def _send(self, one: Connection, body: Body) -> None:
        if one.open:
            one.out += frame(body)
            self._flush(one)

    def _flush(self, one: Connection) -> None:
        try:
            while one.out:
                del one.out[: one.sock.send(one.out)]
        except BlockingIOError:
            pass
        except OSError:
            self._close(one)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if one.out else 0)
        key = self._selector.get_key(one.sock)
        if key.events != events:
            self._selector.modify(one.sock, events, key.data)

    # answers

    def _later(self, one: Connection, body: Body) -> None:
        """Answer when all that is on record now is durable."""
        self._answers.append((self._state.journal.want(), one, body))

    def _tell(self) -> None:
        """Answer those who wait for changes; an end that a power cut could undo is not told."""
        now, seq = up_ns(), self._state.seq
        waiting = [one for one in self._connections if one.after_seq >= 0]
        if not any(one.deadline_ns <= now or one.after_seq < seq for one in waiting):
            return
        soon = now - self._told_ns < LINGER_NS and not self._jobs.idle
        if soon and all(one.deadline_ns > now for one in waiting):
            return
        self._told_ns = now
        for one in waiting:
            if one.deadline_ns <= now or one.after_seq < seq:
                found = self._state.changed_since(one.after_seq)[:MOST_TOLD]
                after = found[-1].seq if found else one.after_seq
                jobs = [job.view() for job in found]
                one.after_seq = -1
                idle = self._jobs.idle and after >= seq
                body = {"cursor": f"{self._epoch}:{after}", "jobs": jobs, "idle": idle}
                self._later(one, body)

    # verbs; those that answer None answer later

    def _hello(self, _one: Connection, body: Body, _raw: bytes) -> Body:
        config = body["config"]
        if config != self._state.config:
            self._state.journal.room(len(dump(config)))
            self._jobs.configure(config)
        return {"pid": os.getpid(), "epoch": self._epoch}

    def _submit(self, one: Connection, body: Body, raw: bytes) -> None:
        if not self._state.config:
            raise ValueError("a submit before any hello")
        starts = unpack_starts(body)
        self._jobs.submit(raw, starts)
        self._stopping = False
        self._later(one, {})

    def _look_up(self, one: Connection, body: Body, _raw: bytes) -> None:
        self._jobs.reap()
        found = [job for a in body["attempts"] if (job := self._state.jobs.get(a))]
        self._later(one, {"jobs": [job.view() for job in found]})

    def _changes(self, one: Connection, body: Body, _raw: bytes) -> None:
        epoch, _, seq = body["cursor"].partition(":")
        one.after_seq = int(seq) if epoch == self._epoch else 0
        wait_s = min(max(float(body["wait_s"]), 0.0), 3600.0)
        one.deadline_ns = min(up_ns() + int(wait_s * SECOND), _FOREVER)

    def _cancel(self, one: Connection, body: Body, _raw: bytes) -> None:
        self._jobs.cancel(body["attempts"])
        self._later(one, {})

    def _output(self, _one: Connection, body: Body, _raw: bytes) -> Body:
        job = self._state.jobs.get(body["attempt"])
        return {"output": [job.stdout, job.stderr] if job else None}

    def _forget(self, _one: Connection, body: Body, _raw: bytes) -> Body:
        self._jobs.forget(body["attempts"])
        return {}

    def _stop(self, _one: Connection, body: Body, _raw: bytes) -> Body:
        if body.get("cancel"):
            live = [a for a, job in self._state.jobs.items() if job.phase is not Phase.ENDED]
            self._jobs.cancel(live)
        self._stopping = True
        return {"idle": self._jobs.idle, **self._jobs.counts}
