"""Source of languages with braces: comments and strings blanked out, so that what is found is code.

Lines and columns stay as they are. Regular expression literals are not recognised; a quote in one can hide the
rest of its line, never more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`(?:\\.|[^`\\])*(?:`|\Z)""",
    re.DOTALL,
)
_RUST_TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|r\#"(?:.*?)(?:"\#|\Z)|"(?:\\.|[^"\\])*(?:"|\Z)|'(?:\\.|[^'\\\n])'""",
    re.DOTALL,
)
_HASH_TOKENS = re.compile(r"""\#[^\n]*|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?""")
_PYTHON_TOKENS = re.compile(
    r"""\#[^\n]*|\"{3}(?:\\.|[^\\])*?(?:\"{3}|\Z)|'{3}(?:\\.|[^\\])*?(?:'{3}|\Z)"""
    r"""|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?""",
    re.DOTALL,
)
_KEPT = re.compile(r"[^\n]")


@dataclass(frozen=True, slots=True)
class Masked:
    """`code` is the text without comments and the insides of strings; `comments` are (line, text)."""

    code: str
    comments: tuple[tuple[int, str], ...]
    starts: tuple[int, ...]

    def line_of(self, place: int) -> int:
        import bisect

        return bisect.bisect_right(self.starts, place)


def mask(source: str, language: str) -> Masked:
    """Blank out comments and strings, keeping every character's line and column."""
    hashes = language in ("Ruby", "Shell", "Perl", "R", "Elixir", "Make", "Docker", "YAML", "TOML")
    special = {"Python": _PYTHON_TOKENS, "Rust": _RUST_TOKENS}
    tokens = special.get(language, _HASH_TOKENS if hashes else _TOKENS)
    starts = (0, *(match.end() for match in re.finditer("\n", source)))
    comments: list[tuple[int, str]] = []
    import bisect

    def blank(match: re.Match[str]) -> str:
        text = match.group()
        if text.startswith(("//", "/*", "#")):
            comments.append((bisect.bisect_right(starts, match.start()), text))
            return _KEPT.sub(" ", text)
        if len(text) < 2:
            return text
        return text[0] + _KEPT.sub(" ", text[1:-1]) + text[-1]

    code = tokens.sub(blank, source)
    return Masked(code, tuple(comments), starts)


def closing(code: str, opening: int) -> int:
    """The place of the brace that closes the one at `opening`; the end of the text when none does."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    return len(code)


def blocks(code: str, header: re.Pattern[str]) -> Iterator[tuple[re.Match[str], int, int]]:
    """Each match of `header`, which ends with the opening brace, with the first and last place of its block."""
    for match in header.finditer(code):
        yield match, match.end(), closing(code, match.end() - 1)


_TRUSTED_LINES = 12
_HEADER_LINES = 8
_ENDED_BY_WORD = frozenset({"Ruby", "Lua", "Elixir"})


def ends_there(first: int, last: int, language: str, lines: list[str], masked: Masked) -> bool:
    """Whether a function that is said to go from line `first` to line `last` really ends there.

    Lizard knows words rather than grammars, and can take the rest of a file for one function. Short ones are
    believed; of others the closing brace, or the `end` that is indented like the beginning, has to be found.
    """
    if last - first < _TRUSTED_LINES:
        return True
    if last > len(lines):
        return False
    if language in _ENDED_BY_WORD:
        indent = re.match(r"\s*", lines[first - 1])
        wanted = re.compile(rf"{indent.group() if indent else ''}end\b")
        found = next((number for number in range(first, len(lines)) if wanted.match(lines[number])), None)
        return found is not None and found + 1 == last
    place = masked.starts[first - 1]
    for match in re.compile(r"\{").finditer(masked.code, place):
        if masked.line_of(match.start()) > first + _HEADER_LINES:
            return False
        # A default value or a type in front of the body has braces of its own.
        if (end := masked.line_of(closing(masked.code, match.start()))) >= last:
            return end == last
    return False
