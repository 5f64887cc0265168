"""Repeats an agent's steps in threads: what time can mend is waited out and said, anything else
stops the agent."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from meyrin.agent.check import NEW_ONE
from meyrin.agent.patience import Patience
from meyrin.domain.errors import MeyrinError, NotLoggedIn, StaleEpoch

log = structlog.get_logger("meyrin.agent")


class Steps:
    """The steps of one agent. `stopped` ends them all, `stop` is called when one can't go on, and
    `logged_in_again` finds another credential where the hub refused the one there was."""

    def __init__(
        self,
        stopped: threading.Event,
        stop: Callable[[], None],
        logged_in_again: Callable[[], bool],
    ) -> None:
        self._stopped, self._stop, self._logged_in_again = stopped, stop, logged_in_again
        self._patience = Patience()
        self.broken: BaseException | None = None  # what stopped one of them

    def thread(self, name: str, step: Callable[[], None]) -> threading.Thread:
        """Repeat a step, from now on."""
        thread = threading.Thread(target=self._repeat, args=(step,), name=name, daemon=True)
        thread.start()
        return thread

    def every(self, seconds: float, step: Callable[[], None]) -> Callable[[], None]:
        """The step and the wait after it."""

        def one() -> None:
            step()
            self._stopped.wait(seconds)

        return one

    def until_done(self, step: Callable[[], None]) -> None:
        """Once, however long the hub stays away."""
        done = threading.Event()

        def one() -> None:
            step()
            done.set()

        while not done.is_set() and not self._stopped.is_set():
            self.once(one)

    def _repeat(self, step: Callable[[], None]) -> None:
        try:
            while not self._stopped.is_set():
                self.once(step)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self.broken = self.broken or error
            self._stop()

    def once(self, step: Callable[[], None]) -> None:
        """Run a step. The longer it fails the longer the waits, and the fewer the words."""
        who = threading.current_thread().name
        try:
            step()
        except StaleEpoch:
            raise
        except (OSError, MeyrinError) as error:
            if isinstance(error, NotLoggedIn) and self._logged_in_again():
                return
            wait_s, said = self._patience.failed(who)
            if said:
                hint = {"hint": NEW_ONE} if isinstance(error, NotLoggedIn) else {}
                event = "agent.not_known" if hint else "agent.waits"
                log.warning(event, step=who, error=str(error), again_in_s=round(wait_s, 1), **hint)
            self._stopped.wait(wait_s)
        else:
            if self._patience.worked(who):
                log.info("agent.goes_on", step=who)
