"""Reads YAML 1.2 into a tree.

Bounded in depth and in size, aliases expanded, while it is read: what is too
much is refused before it takes memory or time.
"""

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from branchwork.yaml_nodes import (
    DEEPEST,
    MOST_VALUES,
    BadYamlError,
    Entry,
    Items,
    Keys,
    Node,
    Position,
    Scalar,
    Tree,
)
from branchwork.yaml_scalars import BadScalarError, bare_value, quoted_value

_TAGS = "tag:yaml.org,2002:"
_PLAIN_TAGS = ("!", f"{_TAGS}str", f"{_TAGS}map", f"{_TAGS}seq")


def read_yaml(text: str) -> Tree:
    """Raises BadYamlError where nothing can be made of it; an empty text is a null."""
    return _Reader(_events(text)).document()


# ruamel.yaml declares its events' attributes in ways that type checkers do not see.
_Event = Any


def _events(text: str) -> Iterator[_Event]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadYamlError(_position(mark), _syntax(error)) from error
    except YAMLError as error:
        position = position_of(text, getattr(error, "position", 0))
        raise BadYamlError(position, f"this is no YAML: {str(error).splitlines()[0]}") from error
    # What ruamel.yaml leaves to Python: code points that are none, versions it asserts.
    except (ValueError, OverflowError, AssertionError) as error:
        raise BadYamlError(Position(1, 1), f"this is no YAML: {error}") from error


def position_of(text: str, index: int) -> Position:
    before = text[:index]
    return Position(before.count("\n") + 1, index - before.rfind("\n"))


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _syntax(error: MarkedYAMLError) -> str:
    said = " ".join(part for part in (error.problem, error.context) if part)
    tab = "; indent with spaces, not tabs" if "'\\t'" in said else ""
    return f"this is no YAML: {said}{tab}"


class _Reader:
    """Goes down the events of one document; `DEEPEST` bounds its recursion too."""

    def __init__(self, events: Iterator[_Event]) -> None:
        self._events = events
        self._anchors: dict[str, Node | None] = {}
        """None while what an anchor names is not whole."""
        self._depth = 0
        self._merged = 0
        self._wrong: list[tuple[Position, str]] = []

    def document(self) -> Tree:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                _check_start(event, first=root is None)
                root = self._node(next(self._events))
        return Tree(root or Scalar(Position(1, 1), None), tuple(self._wrong))

    def _node(self, event: _Event) -> Node:
        position = _position(event.start_mark)
        if isinstance(event, AliasEvent):
            return self._aliased(event.anchor, position)
        self._check_tag(event, position)
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._new(event, position)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _new(self, event: _Event, position: Position) -> Node:
        if isinstance(event, ScalarEvent):
            return self._scalar(event, position)
        if self._depth == DEEPEST:
            raise BadYamlError(position, f"this is nested more than {DEEPEST} deep")
        self._depth += 1
        is_mapping = isinstance(event, MappingStartEvent)
        node = self._keys(position) if is_mapping else self._items(position)
        self._depth -= 1
        return node

    def _aliased(self, anchor: str, position: Position) -> Node:
        if anchor not in self._anchors:
            raise BadYamlError(position, f"the alias *{anchor} has no anchor &{anchor} before it")
        node = self._anchors[anchor]
        if node is None:
            raise BadYamlError(position, f"the alias *{anchor} stands inside what it stands for")
        return node

    def _scalar(self, event: _Event, position: Position) -> Scalar:
        try:
            return Scalar(position, (bare_value if _is_bare(event) else quoted_value)(event.value))
        except BadScalarError as error:
            self._wrong.append((position, str(error)))
            return Scalar(position, None)

    def _items(self, position: Position) -> Items:
        items = Items(position)
        while not isinstance(event := next(self._events), SequenceEndEvent):
            node = self._node(event)
            items.hold(node)
            items.entries.append(node)
        return items

    def _keys(self, position: Position) -> Keys:
        keys, merges = Keys(position), []
        while not isinstance(event := next(self._events), MappingEndEvent):
            if isinstance(event, ScalarEvent) and _is_bare(event) and event.value == "<<":
                merges.append((_position(event.start_mark), self._node(next(self._events))))
            else:
                self._entry(keys, event)
        for index, (merge_position, merge) in enumerate(merges):
            if index:
                self._wrong.append((merge_position, _stands_already("<<", merges[0][0])))
            self._merge(keys, merge, merge_position)
        return keys

    def _entry(self, keys: Keys, event: _Event) -> None:
        key = self._node(event)
        # An alias stands elsewhere than what it stands for.
        entry = Entry(_position(event.start_mark), self._node(next(self._events)))
        name = key.plain()
        if not isinstance(name, str):
            text = "a key must be text; write it in quotes"
            self._wrong.append((entry.key, text))
        elif name in keys.entries:
            self._wrong.append((entry.key, _stands_already(name, keys.entries[name].key)))
        else:
            keys.put(name, entry)

    def _merge(self, keys: Keys, merge: Node, position: Position) -> None:
        """What `<<` names, where `keys` does not say itself; of several the first wins."""
        for source in merge.entries if isinstance(merge, Items) else [merge]:
            if not isinstance(source, Keys):
                self._wrong.append((position, "'<<' takes a mapping, or a list of mappings"))
                return
            self._merged += len(source.entries) + 1
            if self._merged > MOST_VALUES:
                raise BadYamlError(position, f"'<<' merges more than {MOST_VALUES:,} values")
            for name, entry in source.entries.items():
                if name not in keys.entries:
                    keys.put(name, entry)

    def _check_tag(self, event: _Event, position: Position) -> None:
        if event.ctag is not None and (tag := str(event.tag)) not in _PLAIN_TAGS:
            shown = tag.replace(_TAGS, "!!")
            self._wrong.append((position, f"the tag {shown} is not read; write the value plainly"))


def _stands_already(name: str, first: Position) -> str:
    return f"the key {name!r} stands here already, in line {first.line}"


def _is_bare(event: _Event) -> bool:
    """Whether a scalar has neither quotes nor a tag: only then it can be other than text."""
    return event.style is None and event.ctag is None


def _check_start(event: _Event, *, first: bool) -> None:
    position = _position(event.start_mark)
    if not first:
        raise BadYamlError(position, "a second document begins here; a file holds one")
    if event.version not in (None, (1, 2)):
        raise BadYamlError(position, "only YAML 1.2 is read; drop the %YAML line")
