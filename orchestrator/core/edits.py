"""The edit protocol: a model's reply to edits, and where in a file each of them belongs.

A reply is prose with blocks. A block names its file on the line before it:

    path/to/file.py
    <<<<<<< SEARCH
    the lines as they are
    =======
    the lines as they shall be
    >>>>>>> REPLACE

An empty SEARCH makes a new file; `DELETE path` and `RENAME old -> new` stand on lines of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SEARCH = re.compile(r"<{5,9} ?SEARCH\s*")
DIVIDER = re.compile(r"={5,9}\s*")
REPLACE = re.compile(r">{5,9} ?REPLACE\s*")
FENCE = re.compile(r"\s*(`{3,}|~{3,}).*")
DELETE = re.compile(r"DELETE:? +`?(?P<path>[^`]+?)`?\s*")
RENAME = re.compile(r"RENAME:? +`?(?P<old>[^`]+?)`? +-> +`?(?P<new>[^`]+?)`?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """`search` lines of `path` become `replace` lines. `line` is where the block stands in the reply.

    A SEARCH text that itself holds a divider line can be cut in several places; `others` are the further cuts.
    """

    path: str
    search: tuple[str, ...]
    replace: tuple[str, ...]
    line: int
    others: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    path: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    old: str
    new: str
    line: int


Edit = Replacement | Deletion | Rename


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a reply asks for, in order; `problems` are told to the model, in one sentence each."""

    summary: str
    edits: tuple[Edit, ...]
    problems: tuple[str, ...]


def read_reply(text: str) -> Reply:
    """Return the edits of a model's reply. Never raises: what cannot be read is a problem with its line."""
    lines = text.replace("\r\n", "\n").split("\n")
    edits: list[Edit] = []
    problems: list[str] = []
    path: str | None = None
    prose: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if SEARCH.fullmatch(line):
            end = _end_of_block(lines, place)
            named = _path_before(lines, place) or path
            if end is None:
                problems.append(
                    f"the block at line {place + 1} has no `>>>>>>> REPLACE`: the reply was cut off, or the "
                    f"marker is missing"
                )
                break
            path = named
            if path is None:
                problems.append(
                    f"the block at line {place + 1} has no file name on the line before `<<<<<<< SEARCH`"
                )
            else:
                cuts = _cuts(lines[place + 1 : end])
                if not cuts:
                    problems.append(f"the block at line {place + 1} for {path} has no `=======` line")
                else:
                    edits.append(
                        Replacement(
                            path=path, search=cuts[0][0], replace=cuts[0][1], line=place + 1, others=cuts[1:]
                        )
                    )
            place = end + 1
            continue
        if found := DELETE.fullmatch(line.strip()):
            edits.append(Deletion(path=found["path"].strip(), line=place + 1))
        elif found := RENAME.fullmatch(line.strip()):
            edits.append(Rename(old=found["old"].strip(), new=found["new"].strip(), line=place + 1))
        elif not edits:
            prose.append(line)
        place += 1
    if not edits and not problems:
        problems.append("the reply holds no edit block; answer with `<<<<<<< SEARCH` blocks")
    return Reply(summary=_first_paragraph(prose), edits=tuple(edits), problems=tuple(problems))


def _end_of_block(lines: list[str], start: int) -> int | None:
    for place in range(start + 1, len(lines)):
        if REPLACE.fullmatch(lines[place]):
            return place
        if SEARCH.fullmatch(lines[place]):
            return None
    return None


def _cuts(body: list[str]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    return tuple(
        (tuple(body[:place]), tuple(body[place + 1 :]))
        for place, line in enumerate(body)
        if DIVIDER.fullmatch(line)
    )


def _path_before(lines: list[str], place: int) -> str | None:
    """The file name on the nearest line before the block, past fences and blank lines."""
    for back in range(place - 1, max(-1, place - 4), -1):
        line = lines[back].strip()
        if not line or FENCE.fullmatch(line):
            continue
        return _as_path(line)
    return None


def _as_path(line: str) -> str | None:
    name = line.strip("*#` ").removesuffix(":").strip("*` ")
    for prefix in ("File:", "file:", "Path:", "path:", "//"):
        name = name.removeprefix(prefix).strip("*` ")
    if not name or REPLACE.fullmatch(line) or (len(name.split()) > 1 and "/" not in name):
        return None
    return name if re.search(r"[./\w-]", name) and not re.search(r"\s{2,}|[.:!?]\s", name) else None


def _first_paragraph(prose: list[str]) -> str:
    kept: list[str] = []
    for line in prose:
        text = line.strip()
        if text and not FENCE.fullmatch(text):
            kept.append(text)
        elif kept:
            break
    # The paragraph right before a block may be nothing but the file's name.
    return "" if len(kept) == 1 and " " not in kept[0] else "\n".join(kept)
