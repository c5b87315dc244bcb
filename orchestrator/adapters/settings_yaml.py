"""YAML as a tree that knows its lines: no aliases, no tags, no duplicate keys, bounded in size and depth.

Read from the event stream, so that depth is ours to count and a scalar keeps the text that was written:
`0.0000003` reaches the money type without passing through a float.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.core.domain import InvalidDocument, Problem
from orchestrator.core.text import one_line

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 200_000

_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """`kind` is what YAML makes of the text: str, int, float, bool, null, timestamp."""

    file: str
    line: int
    text: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    file: str
    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """`lines` are those of the keys."""

    file: str
    line: int
    items: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


def read_yaml(data: bytes, *, file: str) -> Mapping:
    """Return the document's top-level mapping; an empty document is an empty mapping.

    Raises InvalidDocument with `file:line`.
    """
    if len(data) > MAX_BYTES:
        raise InvalidDocument([Problem(where=file, what=f"{len(data):,} bytes are more than {MAX_BYTES:,}")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidDocument([Problem(where=f"{file}:{line}", what="this is no UTF-8 text")]) from None
    return _Composer(file).compose(text)


def plain(node: Node) -> object:
    """The value as LiteLLM's own loader would read it: str, int, float, bool, None, list, dict."""
    match node:
        case Scalar():
            return _value(node)
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(value) for key, value in node.items.items()}


def _value(node: Scalar) -> object:
    if node.kind == "str":
        return node.text
    import yaml

    # The very constructor that LiteLLM's loader uses, so that both read one value.
    constructor = yaml.constructor.SafeConstructor()
    scalar = yaml.ScalarNode(_PREFIX + node.kind, node.text)
    value: object = constructor.construct_object(scalar)
    return value if isinstance(value, str | int | float | bool | None) else node.text


class _Composer:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.nodes = 0

    def fault(self, line: int, what: str) -> InvalidDocument:
        return InvalidDocument([*self.problems, Problem(where=f"{self.file}:{line}", what=what)])

    def compose(self, text: str) -> Mapping:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            root = self._build(iter(yaml.parse(text, Loader=loader)))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part)
            where = f" (column {mark.column + 1})" if mark else ""
            raise self.fault(mark.line + 1 if mark else 1, f"no YAML: {one_line(what, 200)}{where}") from None
        except yaml.YAMLError as error:
            raise self.fault(1, f"no YAML: {one_line(str(error), 200)}") from None
        if self.problems:
            raise InvalidDocument(self.problems)
        if root is None or (isinstance(root, Scalar) and root.kind == "null"):
            return Mapping(file=self.file, line=1)
        if not isinstance(root, Mapping):
            raise self.fault(root.line, "the document must be a mapping: `model_list:` and so on")
        return root

    def _build(self, events: Iterator[object]) -> Node | None:
        import yaml

        resolver = yaml.resolver.Resolver()
        root: Node | None = None
        open_nodes: list[Sequence | Mapping] = []
        keys: list[Scalar | None] = []
        documents = 0
        for event in events:
            line = event.start_mark.line + 1 if getattr(event, "start_mark", None) else 1  # type: ignore[attr-defined]
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise self.fault(line, "a second document begins here: one file, one document")
                    continue
                case yaml.AliasEvent():
                    raise self.fault(line, f"alias *{one_line(str(event.anchor), 40)}: aliases are refused")
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    open_nodes.pop()
                    keys.pop()
                    continue
                case yaml.ScalarEvent() | yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    pass
                case _:
                    continue
            self._check_event(event, line, len(open_nodes))
            node: Node
            if isinstance(event, yaml.ScalarEvent):
                tag = resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
                node = Scalar(
                    file=self.file, line=line, text=event.value, kind=str(tag).removeprefix(_PREFIX)
                )
            elif isinstance(event, yaml.SequenceStartEvent):
                node = Sequence(file=self.file, line=line)
            else:
                node = Mapping(file=self.file, line=line)
            if not open_nodes:
                root = node
            else:
                self._attach(open_nodes[-1], keys, node)
            if not isinstance(node, Scalar):
                open_nodes.append(node)
                keys.append(None)
        return root

    def _check_event(self, event: object, line: int, depth: int) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.fault(line, f"more than {MAX_NODES:,} values")
        if depth >= MAX_DEPTH:
            raise self.fault(line, f"nested more than {MAX_DEPTH} deep")
        anchor = getattr(event, "anchor", None)
        if anchor:
            raise self.fault(line, f"anchor &{one_line(str(anchor), 40)}: anchors and aliases are refused")
        tag = getattr(event, "tag", None)
        if tag:
            raise self.fault(line, f"tag {one_line(str(tag), 60)}: tags are refused, write plain values")

    def _attach(self, parent: Sequence | Mapping, keys: list[Scalar | None], node: Node) -> None:
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = keys[-1]
        if key is None:
            if not isinstance(node, Scalar):
                raise self.fault(node.line, "a key must be a plain word, not a list or a mapping")
            if node.text == "<<":
                raise self.fault(node.line, "merge keys (<<) are refused")
            keys[-1] = node
            return
        keys[-1] = None
        if key.text in parent.items:
            first = parent.lines[key.text]
            self.problems.append(
                Problem(
                    where=f"{self.file}:{key.line}",
                    what=f"key {one_line(key.text, 60)!r} stands twice, first in line {first}",
                )
            )
            return
        parent.items[key.text] = node
        parent.lines[key.text] = key.line
