"""Markdown as GitHub reads it, from foreign text that cannot leave its place, within the length of one comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.text import one_line, safe_text

# GitHub takes comments of up to 65,536 characters; the rest is for what is said of the cut.
MAX_CHARACTERS = 65_536
_ROOM = MAX_CHARACTERS - 600

DRAWN_SUBTASKS = 60
_DRAWN_LINES = 300
_SPECIAL = re.compile(r"[\\`*_\[\]|~$<>&]|@(?=\w)|#(?=\d)|\b(?:www\.|GH-)|://", re.IGNORECASE)
_SPAN = re.compile(r"`([^`]+)`")
_AT_START = re.compile(r"^(?:[-+#=]|\d+[.)])")
_NOT_ALNUM = re.compile(r"[^\w ]|_", re.ASCII)
_PLAIN_IN_LABELS = re.compile(r"[^\w .,/+-]", re.ASCII)


def text(said: str, limit: int = 200) -> str:
    """Return `said` on one line as ordinary words: no link, no mention, no HTML, no markup but `code`."""
    # Every other part stands between two single backticks.
    parts = _SPAN.split(one_line(said, limit))
    flat = "".join(code(part) if number % 2 else _words(part) for number, part in enumerate(parts))
    return _AT_START.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", flat)


def _words(said: str) -> str:
    return _SPECIAL.sub(_inert, said)


def _inert(found: re.Match[str]) -> str:
    match found[0]:
        case "<" | ">" | "&" | "|":
            # As an entity: a backslash before a bar would depend on those before it, tables are split first.
            return f"&#{ord(found[0])};"
        case special if len(special) == 1 and special not in "@#":
            return f"\\{special}"
        case linked:
            return _unlinked(linked)


def html_text(said: str, limit: int = 200) -> str:
    """Return `said` on one line for the inside of an HTML tag, where Markdown is not read."""
    return _SPECIAL.sub(
        lambda found: f"&#{ord(found[0])};" if found[0] in "<>&" else _unlinked(found[0]),
        one_line(said, limit),
    )


def _unlinked(said: str) -> str:
    """GitHub makes links and messages to people of these, wherever they stand; a zero-width space prevents it."""
    match said[0]:
        case ":":
            return ":&#8203;//"
        case "w" | "W":
            return f"{said[:3]}&#8203;."
        case "@" | "#" | "G" | "g":
            return f"{said}&#8203;"
    return said


def code(said: str, limit: int = 200) -> str:
    """Return `said` as a code span, whatever backticks it holds; also for the cell of a table."""
    flat = one_line(said, limit)
    if not flat:
        return ""
    if "|" in flat:
        return f"<code>{_NOT_ALNUM.sub(lambda found: f'&#{ord(found[0])};', flat)}</code>"
    fence = "`" * (_longest_run(flat) + 1)
    padded = f" {flat} " if flat[0] in "` " or flat[-1] in "` " else flat
    return f"{fence}{padded}{fence}"


def block(said: str, language: str = "") -> list[str]:
    """Return `said` as a fenced block that nothing in it can close."""
    shown = safe_text(said.rstrip("\n"))
    fence = "`" * max(3, _longest_run(shown) + 1)
    return [f"{fence}{language}", *shown.split("\n"), fence]


def _longest_run(said: str) -> int:
    return max((len(run) for run in re.findall("`+", said)), default=0)


def table_rows(rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Return the lines of a table; the first row is its head. Cells are Markdown already."""
    flush = set(right)
    cells = list(rows)
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    columns = len(cells[0]) if cells else 0
    rule = "| " + " | ".join("--:" if place in flush else "---" for place in range(columns)) + " |"
    return [*lines[:1], rule, *lines[1:]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A box of the graph: its lines of text, and the classes that colour it."""

    id: str
    lines: tuple[str, ...]
    classes: tuple[str, ...]


def mermaid(
    nodes: Sequence[Node],
    needs: Mapping[str, Sequence[str]],
    *,
    styles: Mapping[str, str],
    heavy: Iterable[tuple[str, str]] = (),
) -> list[str] | None:
    """Return the graph as a fenced Mermaid block, or None when it is too large to be read or to be drawn by GitHub.

    `needs` names what each node depends on, `styles` the look of each class; `heavy` edges are drawn thick.
    """
    edges = [(need, node.id) for node in nodes for need in needs.get(node.id, ()) if need in needs]
    if not nodes or len(nodes) > DRAWN_SUBTASKS or len(edges) > _DRAWN_LINES:
        return None
    # Names of our own: `end`, `o` and other words mean something to Mermaid.
    names = {node.id: f"n{number}" for number, node in enumerate(nodes, 1)}
    thick = set(heavy)
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'  {names[node.id]}["{"<br/>".join(map(label, node.lines))}"]' for node in nodes]
    lines += [
        f"  {names[need]} {'==>' if (need, name) in thick else '-->'} {names[name]}" for need, name in edges
    ]
    for name, style in styles.items():
        members = [names[node.id] for node in nodes if name in node.classes]
        if members:
            lines += [f"  classDef {name} {style}", f"  class {','.join(members)} {name}"]
    return [*lines, "```"]


def label(said: str, limit: int = 60) -> str:
    """Return `said` for a quoted Mermaid label: whatever could end it or be markup is an entity code."""
    # Formulas and icons are looked for after the codes are read.
    flat = re.sub(r"\$(?=\$)|:(?=fa-)", lambda found: f"{found[0]} ", one_line(said, limit))
    return _PLAIN_IN_LABELS.sub(lambda found: f"#{ord(found[0])};", flat)


@dataclass(slots=True)
class Sheet:
    """Parts of a text in the order in which they matter; what has no room left is said, not cut in the middle."""

    more: str
    lines: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _used: int = 0

    def add(self, lines: Sequence[str], *, what: str) -> bool:
        """Add a whole part; where it has no room it is left out, under the name `what`."""
        size = _size(lines)
        if self._used + size > _ROOM:
            self.left_out.append(what)
            return False
        self.lines += lines
        self._used += size
        return True

    def add_rows(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str], *, what: str
    ) -> None:
        """Add as many of `rows` (each one or several lines) as there is room for, between `head` and `foot`."""
        if not rows:
            return
        frame = _size(head) + _size(foot)
        if self._used + frame + _size(rows[0]) > _ROOM:
            self.left_out.append(f"{len(rows)} {what}")
            return
        self._used += frame
        self.lines += head
        for number, row in enumerate(rows):
            if self._used + _size(row) > _ROOM:
                self.left_out.append(f"{len(rows) - number} of {len(rows)} {what}")
                break
            self.lines += row
            self._used += _size(row)
        self.lines += foot

    def __str__(self) -> str:
        lines = list(self.lines)
        if self.left_out:
            named = ", ".join(self.left_out[:8]) + (" and more" if len(self.left_out) > 8 else "")
            lines += ["", f"**Cut to fit into one comment.** Left out: {named}. {self.more}"]
        return "\n".join(lines) + "\n"


def _size(lines: Iterable[str]) -> int:
    """Characters as GitHub counts them: a character beyond the basic plane is two of its units."""
    return sum(len(line.encode("utf-16-le", "surrogatepass")) // 2 + 1 for line in lines)
