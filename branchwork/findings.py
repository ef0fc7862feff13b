"""Files that people write: how they are read, and what is wrong with them, with its place."""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from branchwork.problems import Problem
from branchwork.yaml_nodes import BadYamlError, Position, Tree, Value
from branchwork.yaml_tree import position_of, read_yaml

MOST_BYTES = 2**20
_LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Finding:
    """Something wrong with a file; line and column count from 1, both 0 for the file itself."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.file}{place}: {self.text}"


class PlanFileError(Exception):
    """A file cannot be used; `findings` say why, all of them, in file order."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))


@dataclass(frozen=True)
class Source:
    """A YAML file that could be read."""

    name: str
    tree: Tree

    def value(self) -> Value:
        return self.tree.root.plain()

    def locate(self, where: tuple[str | int, ...]) -> Position:
        return self.tree.locate(where)

    def findings(self, problems: Iterable[Problem]) -> tuple[Finding, ...]:
        """Each once, in file order, those of the YAML itself among them."""
        placed = [(self.locate(problem.where), problem.text) for problem in problems]
        return _in_file_order(self.name, [*self.tree.wrong, *placed])


def read_source(path: Path) -> Source:
    """Raises PlanFileError for what is no file of text, is too large, or is no YAML."""
    name = str(path)
    data = _read(path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        place = position_of(before, len(before))
        raise _refused(name, f"this is no UTF-8: {error.reason}", place) from error
    return parse_source(text, name)


def parse_source(text: str, name: str) -> Source:
    """Raises PlanFileError for what is too large, or is no YAML."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise _refused(name, _too_large(len(text)))
    try:
        return Source(name, read_yaml(text))
    except BadYamlError as error:
        raise _refused(name, error.text, error.position) from error


def _read(path: Path) -> bytes:
    try:
        # Not Path.open, which takes no opener.
        with open(path, "rb", opener=_open_without_waiting) as file:
            return _read_bounded(file, str(path))
    except OSError as error:
        raise _refused(str(path), _os_sentence(error)) from error
    except ValueError as error:
        raise _refused(repr(str(path)), f"this is no name of a file: {error}") from error


def _open_without_waiting(path: str, flags: int) -> int:
    """Opening a pipe would else wait for someone to write into it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read_bounded(file: BinaryIO, name: str) -> bytes:
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise _refused(name, "this is a pipe or a device; name a file")
    if about.st_size > MOST_BYTES:
        raise _refused(name, _too_large(about.st_size))
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise _refused(name, _too_large(len(data)))
    return data


def _too_large(size: int) -> str:
    return f"the file has {size:,} bytes; more than {MOST_BYTES:,} are not read"


def _os_sentence(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "there is no such file"
    if error.errno == errno.EISDIR:
        return "this is a folder; name a file"
    return f"the file cannot be read: {error.strerror}"


def _refused(name: str, text: str, place: Position | None = None) -> PlanFileError:
    return PlanFileError(_in_file_order(name, [(place or Position(0, 0), text)]))


def _in_file_order(name: str, placed: Sequence[tuple[Position, str]]) -> tuple[Finding, ...]:
    ordered = sorted(dict.fromkeys(placed), key=lambda one: one[0])
    return tuple(Finding(name, *place, _cut(text)) for place, text in ordered)


def _cut(text: str) -> str:
    """Without the middle of what strangers made too long to read."""
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} … {text[-half:]}"
