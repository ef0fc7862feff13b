"""Answers go to stdout, narration to stderr; colour and drawing only on a terminal."""

import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text


class Output:
    """The two streams of one command."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, markup=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, markup=False)

    @property
    def draws(self) -> bool:
        """Whether narration may be drawn over itself."""
        return self.err.is_terminal and not self.err.is_dumb_terminal

    @property
    def asks(self) -> bool:
        """Whether somebody is there to answer a question."""
        return self.draws and sys.stdin.isatty()

    def answer(self, text: RenderableType) -> None:
        self._out.print(text)

    def raw(self, text: str) -> None:
        """Exactly `text`, for JSON and ids: no wrapping, no colour."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def say(self, text: str | Text) -> None:
        self.err.print(text, soft_wrap=True)

    def say_all(self, lines: Iterable[str | Text]) -> None:
        for line in lines:
            self.say(line)
