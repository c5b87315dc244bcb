"""Foreign text made safe to show, and names matched to what was probably meant."""

from __future__ import annotations

import difflib
import re
import textwrap
import unicodedata
from collections.abc import Iterable
from itertools import islice

# Cc and Cf hold the escapes, bidirectional overrides, zero-width and tag characters; Cs the lone surrogates.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def safe_text(text: str, *, newlines: bool = True) -> str:
    """Return `text` with every character a terminal could act on shown as `\\xNN` or `\\uNNNN`.

    Tabs stay; newlines stay unless `newlines` is false, for text that must keep to its line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char == "\t" or (char == "\n" and newlines) or unicodedata.category(char) not in _HIDDEN
        else _escaped(char)
        for char in text
    )


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str, limit: int = 100) -> str:
    """Return `text` on one line, safe to show, with an ellipsis when it is longer than `limit` characters."""
    flat = safe_text(" ".join(text[: 8 * limit].split()), newlines=False)
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


_LISTED = re.compile(r"\b(\d+) ((?:new )?tests) \(")
_NAME_CHARACTERS = 60


def short_lists(text: str) -> str:
    """Return `text` with each list of tests cut to its first: `3 tests (a, b, c)` becomes `3 tests (a and 2 more)`.

    The names of tests may hold commas and brackets of their own. A list whose end was cut off before counts as
    closed there; one that is open for another reason stays as it is, and so do those after the first fifty.
    """
    parts, done = [], 0
    for match in islice(_LISTED.finditer(text), 50):
        if match.start() < done or (found := _first_of(text, match.end())) is None:
            continue
        first, end = found
        name = one_line(first, _NAME_CHARACTERS)
        more = int(match[1]) - 1 if len(match[1]) < 10 else 0
        closing = "" if text[end : end + 1] == ")" else ")…"
        parts.append(f"{text[done : match.end()]}{name}{f' and {more} more' if more > 0 else ''}{closing}")
        done = end
    return "".join(parts) + text[done:]


def _first_of(text: str, start: int) -> tuple[str, int] | None:
    """The first of the names from `start` on, and where the list's closing bracket is."""
    depth, first = 0, None
    for place in range(start, min(len(text), start + 4_000)):
        char = text[place]
        if char in "([":
            depth += 1
        elif char == ")" and depth == 0:
            return (text[start:place] if first is None else first), place
        elif char in ")]":
            depth = max(0, depth - 1)
        elif char == "," and depth == 0 and first is None:
            first = text[start:place]
    return (first, len(text)) if first is not None and text.endswith("…") else None


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `name`, or None when none is near."""
    found = difflib.get_close_matches(name[:200], list(candidates), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the nearest candidate, or an empty string."""
    near = nearest(name, candidates)
    return f", did you mean {near!r}?" if near else ""


_ASKING = frozenset(
    {
        "analyze",
        "analyse",
        "assess",
        "audit",
        "compare",
        "describe",
        "design",
        "evaluate",
        "explain",
        "investigate",
        "list",
        "outline",
        "propose",
        "review",
        "suggest",
        "summarize",
        "summarise",
        "what",
        "which",
        "why",
        "how",
        "where",
        "who",
        "when",
        "is",
        "are",
        "does",
        "do",
        "can",
        "should",
    }
)


def asks_for_text(request: str) -> bool:
    """Whether a request asks for a text (an analysis, a review, an answer) rather than for a change."""
    words = [word.strip(".,:;!?\"'`").casefold() for word in request.split()]
    first = next((word for word in words if word not in ("please", "now", "then", "and", "")), "")
    return first in _ASKING or request.rstrip().endswith("?")


def wrapped(text: str, width: int, *, first: str = "", rest: str = "  ") -> list[str]:
    """Break a line at spaces only: test names, paths and commands stay whole, to be copied."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=first + rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
