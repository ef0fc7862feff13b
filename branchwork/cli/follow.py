"""Watch a run until it ends, or until the watcher has had enough."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from branchwork.cli.output import Output
from branchwork.cli.session import Session
from branchwork.cli.view import drawn, lines_between, utc_now
from branchwork.client import Branchwork
from branchwork.following import Follower
from branchwork.sights import Sight

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""
_REDRAWS_A_SECOND = 5


class Wish(StrEnum):
    """What Ctrl-C meant."""

    DETACH = "detach"
    CANCEL = "cancel"


class Interrupts:
    """Ctrl-C, as something to wait for. The second one means: cancel."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.third = asyncio.Event()
        """One more, while the run is being cancelled: leave it to itself."""

    def hit(self) -> None:
        events = (self.first, self.second)
        next((event for event in events if not event.is_set()), self.third).set()


@asynccontextmanager
async def interrupts() -> AsyncIterator[Interrupts]:
    loop, found = asyncio.get_running_loop(), Interrupts()
    loop.add_signal_handler(signal.SIGINT, found.hit)
    try:
        yield found
    finally:
        loop.remove_signal_handler(signal.SIGINT)


class Watcher:
    """Shows one run to the user."""

    def __init__(self, here: Session, runs: Branchwork, run: str) -> None:
        self._run = run
        self._output = here.output
        self._remedy = here.remedy
        self._follower = here.follower(runs, run)

    async def follow(self) -> tuple[Sight, Wish | None]:
        """The last sight, and what the user wished if the run was left before its end.

        After a cancel the run is followed to its end.
        """
        async with interrupts() as found:
            sight = await self._show(found.first)
            if sight.report.outcome is not None:
                return sight, None
            wish = await _wish(self._output, found)
            if wish is Wish.CANCEL:
                self._output.say(
                    f"cancelling {self._run}: its agents get 5 s to end, their work is kept"
                )
                found.second.set()
                self._follower.ask(partial(Branchwork.cancel, run=self._run, reason="Ctrl-C"))
                found.third.clear()
                sight = await self._show(found.third)
            return sight, wish

    async def _show(self, enough: asyncio.Event) -> Sight:
        """Show the run until it ends or `enough` is set; the last sight."""
        show = self._draw if self._output.draws else self._print
        return await show(until(self._follower, enough))

    async def _print(self, sights: AsyncIterator[Sight]) -> Sight:
        """Plain lines, one for each change."""
        before: Sight | None = None
        async for sight in sights:
            self._output.say_all(lines_between(before, sight, self._remedy))
            before = sight
        return _seen(before)

    async def _draw(self, sights: AsyncIterator[Sight]) -> Sight:
        """A drawing that is redrawn on its place; the clocks go on between two sights."""
        last: list[Sight] = []

        def current() -> RenderableType:
            if not last:
                return Text("starting …")
            return drawn(last[-1], utc_now(), self._output.err.height, self._remedy)

        with Live(
            get_renderable=current, console=self._output.err, refresh_per_second=_REDRAWS_A_SECOND
        ) as live:
            async for sight in sights:
                last[:] = [sight]
            live.refresh()
        return _seen(last[-1] if last else None)


async def until(follower: Follower, enough: asyncio.Event) -> AsyncIterator[Sight]:
    """Sights until the run ends or `enough` is set; at least one."""
    leaving = asyncio.ensure_future(enough.wait())
    sights = follower.sights()
    seen = False
    try:
        while not (seen and leaving.done()):
            upcoming = asyncio.ensure_future(anext(sights, None))
            either = (upcoming, leaving) if seen else (upcoming,)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not upcoming.done():
                upcoming.cancel()
                return
            sight = upcoming.result()
            if sight is None:
                return
            yield sight
            seen = True
    finally:
        leaving.cancel()


def _seen(sight: Sight | None) -> Sight:
    if sight is None:
        raise AssertionError("a run was followed and never seen")
    return sight


async def _wish(output: Output, found: Interrupts) -> Wish:
    """Ask what Ctrl-C meant. Without a terminal it means: detach."""
    if not output.asks:
        return Wish.DETACH
    output.say("[d]etach and let the run go on, or [c]ancel it? (Ctrl-C again cancels) ")
    answer = asyncio.ensure_future(_line())
    second = asyncio.ensure_future(found.second.wait())
    await asyncio.wait((answer, second), return_when=asyncio.FIRST_COMPLETED)
    cancel = second.done() or answer.result().strip().lower().startswith("c")
    for left in (answer, second):
        left.cancel()
    return Wish.CANCEL if cancel else Wish.DETACH


async def _line() -> str:
    """A line from the terminal, without a thread that could not be ended."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline()
