"""Lines of a Markdown task list as bytes: boxes, headings, fences, and the offsets of what may be changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.adapters.formats.task_list import NOTE, Mark, Remark

BOX = re.compile(
    rb"^(?P<indent>[ \t]*)(?P<bullet>(?:[-*+]|\d{1,9}[.)])[ \t]+)?\[(?P<mark>[ xX~/!\-])\](?P<rest>(?:[ \t].*)?)$"
)
HEADING = re.compile(rb"^ {0,3}(?P<level>#{1,6})[ \t]+(?P<title>.*?)[ \t]*$")
_FENCE = re.compile(rb"^[ \t]*(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
DONE_SIGN = re.compile(r"[ \t]*(?:✅|✔️|✔|☑️|☑)(?:[ \t]*\(?(?:COMPLETED?|DONE)\)?)?[ \t]*$", re.IGNORECASE)
PATH = re.compile(
    r"(?<![\w/@.:-])(?P<path>(?:\.?[\w@-][\w.@-]*/)+[\w.@-]*\.[A-Za-z][A-Za-z0-9]{0,9}"
    r"|(?:[\w-][\w.-]*|\.[\w-]+)\.(?:py|pyi|js|jsx|ts|tsx|mjs|cjs|go|rs|rb|java|kt|c|h|cc|cpp|cs|php|swift|sh|sql"
    r"|json|ya?ml|toml|ini|cfg|md|html|css|scss|vue|svelte|props|csproj))(?![\w/])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line: `number` from 1, `start` its first byte, `end` the byte after its line end, `text` decoded."""

    number: int
    start: int
    end: int
    raw: bytes
    text: str
    fenced: bool = False

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip(" \t"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A `- [ ]` line: what stands in the box, the text after it, and the one byte that a status changes."""

    line: Line
    done: bool
    sign: str
    rest: str
    indent: str
    bullet: bool
    mark: Mark


def lines_of(data: bytes, warnings: list[Remark]) -> list[Line]:
    """Return the lines of the file; those inside code fences are marked, a fence that never closes is none."""
    found: list[Line] = []
    at = 0
    for number, piece in enumerate(data.splitlines(keepends=True) if b"\r" not in data else _split(data), 1):
        raw = piece.rstrip(b"\r\n")
        shown = raw[3:] if number == 1 and raw.startswith(b"\xef\xbb\xbf") else raw
        text = shown.decode("utf-8", "replace")
        if "\ufffd" in text and b"\xef\xbf\xbd" not in shown:
            warnings.append(Remark(line=number, what="not UTF-8; kept as it is"))
        found.append(Line(number=number, start=at, end=at + len(piece), raw=raw, text=text))
        at += len(piece)
    return _with_fences(found, warnings)


def _split(data: bytes) -> Iterator[bytes]:
    """Lines that end in LF or CR LF; a lone CR belongs to its line."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end + 1
        yield data[at:end]
        at = end


def _with_fences(lines: list[Line], warnings: list[Remark]) -> list[Line]:
    fences = [(index, match) for index, line in enumerate(lines) if (match := _FENCE.match(line.raw))]
    fenced: set[int] = set()
    after = -1
    for place, (index, opening) in enumerate(fences):
        if index <= after:
            continue
        sign = opening["fence"]
        closing = next(
            (
                other
                for other, match in fences[place + 1 :]
                if match["fence"][:1] == sign[:1]
                and len(match["fence"]) >= len(sign)
                and not match["info"].strip()
            ),
            None,
        )
        if closing is None:
            warnings.append(Remark(line=index + 1, what="a code fence that is never closed is read as text"))
            # What follows the same sign would search to the end again, for nothing.
            break
        fenced.update(range(index, closing + 1))
        after = closing
    if not fenced:
        return lines
    return [
        line
        if index not in fenced
        else Line(
            number=line.number, start=line.start, end=line.end, raw=line.raw, text=line.text, fenced=True
        )
        for index, line in enumerate(lines)
    ]


def box_of(line: Line) -> Box | None:
    """Return the box this line begins with, None when it has none or is inside a code fence."""
    if line.fenced:
        return None
    match = BOX.match(line.raw)
    if match is None:
        return None
    sign = match["mark"]
    at = line.start + match.start("mark")
    done = sign in (b"x", b"X")
    return Box(
        line=line,
        done=done,
        sign=sign.decode("ascii"),
        rest=match["rest"].decode("utf-8", "replace").strip(),
        indent=match["indent"].decode("ascii"),
        bullet=bool(match["bullet"]),
        mark=Mark(start=at, end=at + 1, done=sign if done else b"x", open=b" " if done else sign),
    )


def sign_mark(line: Line) -> tuple[bool, Mark]:
    """Whether a heading or bold title ends in a done sign, and where one stands or would stand."""
    stripped = line.raw.rstrip()
    match = DONE_SIGN.search(stripped.decode("utf-8", "surrogateescape"))
    if match is None:
        at = line.start + len(stripped)
        return False, Mark(start=at, end=at, done=" ✅".encode(), open=b"")
    sign = match.group().encode("utf-8", "surrogateescape")
    start = line.start + len(stripped) - len(sign)
    return True, Mark(start=start, end=start + len(sign), done=sign, open=b"")


def without_sign(title: str) -> str:
    return DONE_SIGN.sub("", title).strip()


def is_note(line: Line) -> bool:
    """Whether the line is a note of ours (or of Agent OS itself) about a task that could not be done."""
    return line.text.lstrip().startswith(NOTE)


def paths_in(text: str) -> tuple[str, ...]:
    """The file paths that a text names, in order; addresses and module names are none."""
    found = dict.fromkeys(match["path"].rstrip(".") for match in PATH.finditer(text[:20_000]))
    return tuple(path for path in found if ".." not in path.split("/"))[:40]


def clean_title(text: str) -> str:
    """The text without Markdown emphasis around the whole of it or around its first words."""
    return re.sub(r"^\*\*(.+?)\*\*", r"\1", text.strip()).strip()
