"""A YAML document as a tree of values that know where they stand."""

from dataclasses import dataclass, field
from typing import NamedTuple

DEEPEST = 50
MOST_VALUES = 100_000
"""With every alias counted as what it stands for."""

Value = str | int | float | bool | list["Value"] | dict[str, "Value"] | None
"""What JSON can hold, and the numbers that it cannot."""


class Position(NamedTuple):
    """In a file, both counted from 1."""

    line: int
    column: int


class BadYamlError(Exception):
    """A text that is not YAML as we read it: where, and why."""

    def __init__(self, position: Position, text: str) -> None:
        super().__init__(f"{position.line}:{position.column}: {text}")
        self.position = position
        self.text = text


@dataclass
class Node:
    """A value and where it stands; `size` and `height` count what it expands to."""

    position: Position
    size: int = field(default=1, init=False)
    height: int = field(default=1, init=False)

    def plain(self) -> Value:
        raise NotImplementedError

    def hold(self, inner: "Node") -> None:
        """Count `inner` in; raises BadYamlError when that is too much."""
        self.size += inner.size
        self.height = max(self.height, inner.height + 1)
        if self.size > MOST_VALUES:
            text = f"this makes more than {MOST_VALUES:,} values, aliases expanded"
            raise BadYamlError(self.position, text)
        if self.height > DEEPEST:
            raise BadYamlError(self.position, f"this is nested more than {DEEPEST} deep")


@dataclass
class Scalar(Node):
    value: Value

    def plain(self) -> Value:
        return self.value


@dataclass
class Items(Node):
    entries: list[Node] = field(default_factory=list)

    def plain(self) -> Value:
        return [entry.plain() for entry in self.entries]


class Entry(NamedTuple):
    key: Position
    node: Node


@dataclass
class Keys(Node):
    entries: dict[str, Entry] = field(default_factory=dict)

    def put(self, name: str, entry: Entry) -> None:
        self.hold(entry.node)
        self.entries[name] = entry

    def plain(self) -> Value:
        return {name: entry.node.plain() for name, entry in self.entries.items()}


@dataclass(frozen=True)
class Tree:
    """A document, and what is wrong with it though it could be read."""

    root: Node
    wrong: tuple[tuple[Position, str], ...] = ()

    def locate(self, where: tuple[str | int, ...]) -> Position:
        """Position of the value there; of what is nearest around it, if there is none.

        A last `[key]` asks for the position of the key before it.
        """
        node, key = self.root, self.root.position
        for part in where:
            if part == "[key]":
                return key
            if isinstance(node, Keys) and isinstance(part, str) and part in node.entries:
                key, node = node.entries[part]
            elif isinstance(node, Items) and isinstance(part, int) and part < len(node.entries):
                node = node.entries[part]
                key = node.position
            else:
                break
        return node.position
