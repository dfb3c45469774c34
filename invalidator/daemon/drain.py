"""An orderly end: a signal asks for it, and a second signal or a deadline forces the exit."""

import asyncio
import signal
from collections.abc import Callable

from invalidator.errors import first_of

FORCED_WITHIN = 3.0  # seconds that a forced exit leaves for closing connections


class Drain:
    """The end of one process, and the signals that ask for it."""

    def __init__(self, within: float) -> None:
        """`within` is how many seconds an orderly end may take."""
        self.within = within
        self.signal = ""  # the one that asked for the end
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    @property
    def forced(self) -> bool:
        """Return whether a second signal came."""
        return self._force.is_set()

    async def complete(self, work: "asyncio.Task[None]", stop: Callable[[], None]) -> bool:
        """Return whether the work ended, on its own or in time after a signal; raise its error.

        `stop` is called once, at the first signal or at the end. What does not end in time is
        cancelled.
        """
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        forcing = asyncio.create_task(self._force.wait(), name="force")
        first = asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({work, stopping}, return_when=first)
            stop()
            await asyncio.wait({work, forcing}, timeout=self.within, return_when=first)
            if work.done() and (error := work.exception()):
                raise first_of(error)
            return work.done()
        finally:
            for task in (work, stopping, forcing):
                task.cancel()
            await asyncio.wait({work, stopping, forcing}, timeout=FORCED_WITHIN)

    def listen(self) -> None:
        """Listen to SIGTERM and SIGINT for as long as the event loop lives."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.signal:
            self._force.set()
        else:
            self.signal = number.name
            self._stop.set()
