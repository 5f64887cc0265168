"""The live half of `meyrin run`: two streams of a job onto ours, a status line, and signals.

Two threads follow the job and only fill a queue; everything else, signals too, happens in order
in the main thread, so that no byte is lost or torn by an interruption.
"""

from __future__ import annotations

import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO

from meyrin.cli.cut import say_cut
from meyrin.cli.exits import INTERRUPTED
from meyrin.cli.session import Session
from meyrin.cli.terminal import ERASE, clean, clock_time, is_terminal, say
from meyrin.domain.errors import MeyrinError

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.client.follow import Change, Stream
    from meyrin.client.streams import Told

QUESTION = "cancel or detach? [c/d] "
_LOOK_S = 0.5
STARTED = frozenset({"running", "completed", "failed", "cancelled", "expired"})


class _Leave(Exception):
    """The user goes, the job stays."""


class _Signalled(Exception):
    """A signal came while the main thread waited for the hub: that waits no longer."""


class Streaming:
    """One job on this terminal, until it ends or the user detaches."""

    def __init__(
        self, hub: Client, label: str, session: Session, out: BinaryIO, *, quiet: bool = False
    ) -> None:
        self._hub = hub
        self._label = label
        self._session = session
        self._sinks: dict[Stream, BinaryIO] = {"stdout": out, "stderr": sys.stderr.buffer}
        self._queue: SimpleQueue[Told | Exception | signal.Signals] = SimpleQueue()
        self._line = is_terminal(sys.stderr) and not quiet
        self._quiet = quiet
        self._drawn = False
        self._cancelled = False
        self._asking = False  # the main thread waits for the hub

    def run(self) -> int:
        """Stream until the end; the exit code that a shell would see of the job."""
        if not self._quiet and not self._line:
            say(f"job {self._label}")
        from meyrin.client.ways import way_back  # noqa: PLC0415

        with way_back(self._label), self._signals():
            from meyrin.client.streams import begin  # noqa: PLC0415

            begin(self._hub, self._label, self._queue.put)
            try:
                code, ended = self._until_ended()
            except _Leave:
                self._say_it_goes_on()
                return INTERRUPTED
            except OSError:  # nobody reads our output on, or there is no room for it
                self._say_it_goes_on(" unless it has ended")
                raise
        for stream in self._sinks:
            say_cut(self._hub, self._label, stream, ended[stream].cut_bytes)
        return code

    def _until_ended(self) -> tuple[int, dict[Stream, Change]]:
        """The exit code, and how each stream ended."""
        from meyrin.client.follow import Output, exit_status  # noqa: PLC0415

        ended: dict[Stream, Change] = {}
        while len(ended) < len(self._sinks):
            told = self._queue.get()
            if isinstance(told, Exception):
                self._erase()
                raise told
            if isinstance(told, signal.Signals):
                self._on_signal(told)
            elif isinstance(told.event, Output):
                self._erase()
                self._sinks[told.stream].write(told.event.data)
                self._sinks[told.stream].flush()
            elif told.event.ended:
                ended[told.stream] = told.event
            elif told.stream == "stdout":
                self._show(told.event)
        self._erase()
        change = ended["stdout"]
        if change.state != "completed" and not self._quiet:
            because = f": {clean(change.reason)}" if change.reason else ""
            say(f"job {self._label} {clean(change.shown)}{because}")
        if change.state == "cancelled" and self._cancelled:
            return INTERRUPTED, ended
        return exit_status(change.state, change.exit_code, change.signal), ended

    def _say_it_goes_on(self, unless: str = "") -> None:
        self._erase()
        say(
            f"job {self._label} goes on{unless}; `meyrin logs -f {self._label}` comes back to it, "
            f"`meyrin cancel {self._label}` ends it"
        )

    # --- the status line

    def _show(self, change: Change) -> None:
        if not self._line:
            return
        self._erase()
        if change.state in STARTED:
            return
        place = f" at {change.site}/{change.partition}" if change.site else ""
        sys.stderr.write(f"job {self._label}: {clean(change.shown)}{place}{self._outlook()}")
        sys.stderr.flush()
        self._drawn = True

    def _outlook(self) -> str:
        """When it is expected to start, or why it waits; nothing when the hub is busy."""
        try:
            with self._interruptible():
                found = self._hub.explain(self._label)
        except (MeyrinError, _Signalled):
            return ""
        if found.waits:
            return f": {clean(found.waits)}"
        if found.where:
            start = clock_time(found.where.expected_start_s, self._session.now_s)
            return f", expected start {start}"
        return f": {clean(found.summary)}"

    def _erase(self) -> None:
        if self._drawn:
            sys.stderr.write(ERASE)
            sys.stderr.flush()
            self._drawn = False

    # --- signals

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM become items of the queue, whose put is safe in a handler."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _frame: FrameType | None) -> None:
            self._queue.put(signal.Signals(number))
            if self._asking:
                self._asking = False
                raise _Signalled

        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """A hub that is silent must not keep anybody here: a signal raises _Signalled within."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def _on_signal(self, number: signal.Signals) -> None:
        self._erase()
        if number == signal.SIGTERM:
            self._cancel()
            raise SystemExit(128 + number)
        if self._cancelled or (is_terminal(sys.stdin) and self._ask() == "d"):
            raise _Leave
        self._cancel()

    def _ask(self) -> str:
        """`c` or `d`; a second Ctrl-C, or the end of the input, is `d`."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            while True:
                sys.stderr.write(f"\n{QUESTION}")
                sys.stderr.flush()
                while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
                    pass  # a Ctrl-C just before the wait is noticed after it
                typed = sys.stdin.readline()
                answer = typed.strip().lower()[:1]
                if answer in {"c", "d"} or not typed:
                    return answer or "d"
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            return "d"
        finally:
            signal.signal(signal.SIGINT, before)

    def _cancel(self) -> None:
        self._cancelled = True
        try:
            with self._interruptible():
                say(f"cancelling job {self._label}")
                self._hub.cancel(self._label)
        except _Signalled:
            say("the hub has not confirmed that")
        except MeyrinError:
            say("the hub has not confirmed that")
            raise
