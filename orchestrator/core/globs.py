"""Paths and globs of a repository, as text: which are acceptable, and which two can name the same file.

A glob is relative to the repository's root: `*` and `?` stay within a name, `**` crosses directories, a
trailing `/` (or a directory's plain name followed by `/**`) means everything below. A wildcard pattern without
a slash (`*.md`) names files at any depth, a plain name without a slash only the one at the root.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_PATH_CHARACTERS = 1000

_WILD = re.compile(r"[*?\[]")
_UNUSUAL_START = frozenset(" /~-.")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
_CLASS = re.compile(r"\[[^\]]*\]")


def is_glob(pattern: str) -> bool:
    """Return whether the pattern can name more than one file."""
    return pattern.endswith("/") or _WILD.search(pattern) is not None


def is_plain(path: str) -> bool:
    """Return whether the path is of the usual kind: nothing to make normal in it, and no fault to find."""
    return (
        path.isascii()
        and path.isprintable()
        and 2 < len(path) <= MAX_PATH_CHARACTERS
        and path[0] not in _UNUSUAL_START
        and path[1] != ":"
        # No part that begins with a dot, and so neither `..` nor `.git`.
        and "/." not in path
        and "//" not in path
        and "\\" not in path
    )


def path_fault(path: str) -> str | None:
    """Return why `path` (or glob) may not stand in a plan, or None when it may."""
    if is_plain(path):
        return None
    if not path.strip():
        return "is empty"
    if len(path) > MAX_PATH_CHARACTERS:
        return f"has {len(path)} characters, at most {MAX_PATH_CHARACTERS} are allowed"
    if _CONTROL.search(path):
        return "holds a control character"
    if path.startswith(("/", "~")) or _DRIVE.match(path):
        return "is absolute: paths are relative to the repository"
    if "\\" in path:
        return "holds a backslash: write paths with '/'"
    if path.startswith("-"):
        return "begins with '-'"
    parts = path.split("/")
    if ".." in parts:
        return "leads out of the repository"
    if any(part.rstrip(". ").casefold() == ".git" for part in parts):
        return "lies in .git"
    return None


def normal(path: str) -> str:
    """Return the path without `./` in front, doubled slashes or `.` parts; a trailing slash is kept."""
    if "//" not in path and "./" not in path and not path.endswith("/."):
        return path
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/".join(parts) + ("/" if path.endswith(("/", "/.")) and parts else "")


@lru_cache(maxsize=4096)
def segments(pattern: str) -> tuple[str, ...]:
    """The parts of a normal glob between slashes, with `**` for what may be any depth."""
    if pattern.endswith("/"):
        return (*pattern[:-1].split("/"), "**")
    if "/" not in pattern and _WILD.search(pattern) and pattern != "**":
        return ("**", pattern)
    return tuple(pattern.split("/"))


def fixed_directory(pattern: str) -> str:
    """The directories in front of the first wildcard, with a trailing slash; empty when there are none."""
    fixed: list[str] = []
    for part in segments(pattern):
        if _WILD.search(part):
            break
        fixed.append(part)
    else:
        fixed.pop()
    return "".join(f"{part}/" for part in fixed)


@lru_cache(maxsize=4096)
def _segment_pattern(segment: str) -> re.Pattern[str]:
    expression, place = "", 0
    while place < len(segment):
        char = segment[place]
        if char == "*":
            # Runs of stars are one: `a***b` must not backtrack over every split.
            if not expression.endswith("[^/]*"):
                expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif char == "[" and (found := _CLASS.match(segment, place)) and len(found.group()) > 2:
            inner = found.group()[1:-1].replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
            expression += f"[^{inner[1:]}]" if inner[0] == "!" and len(inner) > 1 else f"[{inner}]"
            place = found.end() - 1
        else:
            expression += re.escape(char)
        place += 1
    try:
        return re.compile(expression)
    except re.error:
        return re.compile(re.escape(segment))


@lru_cache(maxsize=4096)
def _fixed_ends(segment: str) -> tuple[str, str] | None:
    """What a segment's names begin and end with; None when it has no wildcard."""
    found = _WILD.search(segment)
    if found is None:
        return None
    return segment[: found.start()], "" if "[" in segment else _WILD.split(segment)[-1]


def _segments_meet(one: str, other: str) -> bool:
    if one == other:
        return True
    ends, other_ends = _fixed_ends(one), _fixed_ends(other)
    if ends is None:
        return other_ends is not None and _matches_segment(other, one)
    if other_ends is None:
        return _matches_segment(one, other)
    # Two patterns: when the fixed ends agree, assume a name that fits both.
    return (ends[0].startswith(other_ends[0]) or other_ends[0].startswith(ends[0])) and (
        ends[1].endswith(other_ends[1]) or other_ends[1].endswith(ends[1])
    )


def _matches_segment(pattern: str, name: str) -> bool:
    if pattern.count("*") > 8:
        # Too many stars to match without backtracking for long; overlapping is the careful answer.
        return True
    return _segment_pattern(pattern).fullmatch(name) is not None


def overlap(one: str, other: str) -> bool:
    """Return whether the two globs can name the same file. Says yes when it cannot tell."""
    if one == other:
        return True
    if not is_glob(one) and not is_glob(other):
        return False
    left, right = segments(one), segments(other)
    if len(left) > 64 or len(right) > 64:
        return True
    for place in (0, -1):
        # Most pairs differ here already.
        if "**" not in (left[place], right[place]) and not _segments_meet(left[place], right[place]):
            return False
    # reach[j]: the segments of `left` read so far can name the same directories as the first j of `right`.
    reach = [True] + [False] * len(right)
    for place, part in enumerate(right):
        reach[place + 1] = reach[place] and part == "**"
    for part in left:
        row = [reach[0] and part == "**"]
        for place, against in enumerate(right):
            if part == "**" or against == "**":
                row.append(reach[place + 1] or row[place] or reach[place])
            else:
                row.append(reach[place] and _segments_meet(part, against))
        reach = row
    return reach[-1]
