"""Where the lines of a SEARCH block stand in a file: exactly, but for white space, or between its anchors.

Each way accepts one place only. Two candidates are a refusal, because an edit in the wrong place is worse
than none: the model is told, and shows more lines.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.edits import Replacement

ANCHORED_LINES = 5
SIMILAR_ENOUGH = 0.9
CLEARLY_BETTER = 0.1


class How(StrEnum):
    EXACT = "exact"
    WHITESPACE = "white space"
    ANCHORED = "anchored"
    NEW = "new file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The file's text after the edit, and how the place was found."""

    text: str
    how: How


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why the block has no place in the file; told to the model."""

    why: str


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int


def apply_replacement(text: str | None, edit: Replacement) -> Applied | Unplaced:
    """Return the text of a file after `edit`, or why it cannot be made; `text` is None for a missing file.

    Untouched lines keep their bytes; new lines take the line ending of the lines they replace.
    """
    cuts = ((edit.search, edit.replace), *edit.others)
    filled = [cut for cut in cuts if any(line.strip() for line in cut[0])]
    if not filled or (cuts[0] not in filled and not (text or "").strip()):
        return _new_file(text, edit.replace)
    # A divider line inside the SEARCH part cuts off a shorter text that may be there as well: the longest counts.
    cuts = tuple(sorted(filled, key=lambda cut: -len(cut[0])))
    if text is None:
        return Unplaced(f"{edit.path} does not exist; an empty SEARCH makes a new file")
    lines, endings = _split(text)
    refused: Unplaced | None = None
    for find, how in (
        (_exact, How.EXACT),
        (_without_margin, How.EXACT),
        (_ignoring(str.rstrip), How.WHITESPACE),
        (_ignoring(str.strip), How.WHITESPACE),
        (_ignoring(_collapsed), How.WHITESPACE),
        (_ignoring_blank_lines, How.WHITESPACE),
        (_anchored, How.ANCHORED),
    ):
        for search, replace in cuts:
            spans = list(find(lines, search))
            if len(spans) > 1:
                at = ", ".join(str(span.start + 1) for span in spans[:5])
                refused = refused or Unplaced(
                    f"the SEARCH lines of {edit.path} stand at lines {at}: show more lines around the place"
                )
            elif spans:
                if refused:
                    return refused
                new = _fitted(lines, spans[0], search, replace, exact=how is How.EXACT)
                return Applied(text=_joined(lines, endings, spans[0], new), how=how)
        if refused:
            return refused
    return Unplaced(f"the SEARCH lines are not in {edit.path}{_nearest_place(lines, edit.search)}")


def _new_file(text: str | None, replace: tuple[str, ...]) -> Applied | Unplaced:
    if text is not None and text.strip():
        return Unplaced("an empty SEARCH makes a new file, and this one exists: show the lines to replace")
    return Applied(text="".join(f"{line}\n" for line in replace), how=How.NEW)


# --- lines and endings ----------------------------------------------------------------------------


def _split(text: str) -> tuple[list[str], list[str]]:
    """Lines without their endings, and the endings; only LF and CRLF end a line."""
    lines: list[str] = []
    endings: list[str] = []
    for raw in text.split("\n"):
        if raw.endswith("\r"):
            lines.append(raw[:-1])
            endings.append("\r\n")
        else:
            lines.append(raw)
            endings.append("\n")
    if lines[-1] == "" and endings[-1] == "\n":
        lines.pop()
        endings.pop()
    else:
        endings[-1] = endings[-1].removesuffix("\n")
    return lines, endings


def _joined(lines: list[str], endings: list[str], span: _Span, new: list[str]) -> str:
    inside = endings[span.start : span.end] or endings[max(0, span.start - 1) : span.start] or ["\n"]
    usual = next((ending for ending in inside if ending.endswith("\n")), "\n")
    if usual == "\n" and endings and endings[0] == "\r\n":
        usual = "\r\n"
    last = inside[-1] if span.end == len(lines) else usual
    fresh = [line + usual for line in new]
    if fresh:
        fresh[-1] = new[-1] + last
    before = [line + ending for line, ending in zip(lines[: span.start], endings[: span.start], strict=True)]
    after = [line + ending for line, ending in zip(lines[span.end :], endings[span.end :], strict=True)]
    return "".join([*before, *fresh, *after])


# --- ways to find the place -----------------------------------------------------------------------


def _windows(lines: list[str], wanted: list[str]) -> Iterator[_Span]:
    size = len(wanted)
    first = wanted[0]
    for start in range(len(lines) - size + 1):
        if lines[start] == first and lines[start : start + size] == wanted:
            yield _Span(start, start + size)


def _exact(lines: list[str], search: tuple[str, ...]) -> Iterator[_Span]:
    return _windows(lines, list(search))


def _without_margin(lines: list[str], search: tuple[str, ...]) -> Iterator[_Span]:
    start, end = _margins(search)
    yield from _windows(lines, list(search[start:end]))


def _margins(search: tuple[str, ...]) -> tuple[int, int]:
    filled = [place for place, line in enumerate(search) if line.strip()]
    return filled[0], filled[-1] + 1


def _collapsed(line: str) -> str:
    return re.sub(r"\s+", " ", line.strip())


def _ignoring(
    form: Callable[[str], str],
) -> Callable[[list[str], tuple[str, ...]], Iterator[_Span]]:
    def find(lines: list[str], search: tuple[str, ...]) -> Iterator[_Span]:
        start, end = _margins(search)
        return _windows([form(line) for line in lines], [form(line) for line in search[start:end]])

    return find


def _ignoring_blank_lines(lines: list[str], search: tuple[str, ...]) -> Iterator[_Span]:
    filled = [place for place, line in enumerate(lines) if line.strip()]
    squeezed = [_collapsed(lines[place]) for place in filled]
    wanted = [_collapsed(line) for line in search if line.strip()]
    for span in _windows(squeezed, wanted):
        yield _Span(filled[span.start], filled[span.end - 1] + 1)


def _anchored(lines: list[str], search: tuple[str, ...]) -> Iterator[_Span]:
    """The one stretch that begins and ends like the block and is nearly the same between."""
    wanted = [_collapsed(line) for line in search if line.strip()]
    if len(wanted) < ANCHORED_LINES:
        return
    forms = [_collapsed(line) for line in lines]
    starts = [place for place, form in enumerate(forms) if form == wanted[0]]
    ends = [place + 1 for place, form in enumerate(forms) if form == wanted[-1]]
    scored: list[tuple[float, _Span]] = []
    for start in starts[:50]:
        for end in ends[:200]:
            inside = [form for form in forms[start:end] if form]
            if not 0.8 * len(wanted) <= len(inside) <= 1.25 * len(wanted):
                continue
            score = difflib.SequenceMatcher(None, inside, wanted, autojunk=False).ratio()
            if score >= SIMILAR_ENOUGH:
                scored.append((score, _Span(start, end)))
    scored.sort(key=lambda pair: -pair[0])
    if len(scored) > 1 and scored[0][0] - scored[1][0] < CLEARLY_BETTER:
        yield from (span for _, span in scored)
    elif scored:
        yield scored[0][1]


# --- fitting the new lines ------------------------------------------------------------------------


def _fitted(
    lines: list[str], span: _Span, search: tuple[str, ...], replace: tuple[str, ...], *, exact: bool
) -> list[str]:
    """The new lines, without the blank margin the search had too much, in the file's own indentation."""
    if span.end - span.start == len(search) and exact:
        return list(replace)
    start, end = _margins(search)
    head, tail = start, len(search) - end
    new = list(replace)
    while head and new and not new[0].strip():
        new.pop(0)
        head -= 1
    while tail and new and not new[-1].strip():
        new.pop()
        tail -= 1
    if exact:
        return new
    kept, shown = lines[span.start : span.end], list(search[start:end])
    if len(kept) != len(shown):
        kept = [line for line in kept if line.strip()]
        shown = [line for line in shown if line.strip()]
    if len(kept) != len(shown):
        return [_placed(line, {}, _file_units(lines)) for line in new]
    filled = [
        (_indent(line), _indent(other)) for line, other in zip(shown, kept, strict=True) if line.strip()
    ]
    indents = dict(filled)
    units = _units(indents) or _file_units(lines)
    fitted: list[str] = []
    # What the model only showed stays as it was, whatever happened to its spaces on the way.
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, shown, new, autojunk=False).get_opcodes():
        fitted += kept[i1:i2] if tag == "equal" else [_placed(line, indents, units) for line in new[j1:j2]]
    return fitted


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _placed(line: str, indents: dict[str, str], units: tuple[str, str]) -> str:
    if not line.strip():
        return line if all(shown == kept for shown, kept in indents.items()) else ""
    indent, text = _indent(line), line.lstrip()
    if indent in indents:
        return indents[indent] + text
    near = [known for known in indents if indent.startswith(known)]
    if not near:
        return _shifted(indent, indents).replace(*units) + text
    nearest = max(near, key=len)
    return indents[nearest] + indent[len(nearest) :].replace(*units) + text


def _shifted(indent: str, indents: dict[str, str]) -> str:
    """An indentation above all that was shown, moved as far as those were."""
    moves = {kept.removesuffix(shown) for shown, kept in indents.items() if kept.endswith(shown)}
    return moves.pop() + indent if len(moves) == 1 and len(indents) > 0 else indent


def _units(indents: dict[str, str]) -> tuple[str, str] | None:
    """One step of indentation as the model showed it and as the file has it, where the one is a tab."""
    for shown, kept in indents.items():
        if shown and kept and set(shown) == {"\t"} and set(kept) == {" "} and len(kept) % len(shown) == 0:
            return "\t", " " * (len(kept) // len(shown))
        if shown and kept and set(shown) == {" "} and set(kept) == {"\t"} and len(shown) % len(kept) == 0:
            return " " * (len(shown) // len(kept)), "\t"
        if shown and shown == kept:
            return shown, kept
    return None


def _file_units(lines: list[str]) -> tuple[str, str]:
    """The same by the whole file, for a block whose own lines are not indented."""
    indents = [_indent(line) for line in lines if line[:1] in (" ", "\t") and line.strip()]
    tabs = sum("\t" in indent for indent in indents)
    if indents and not tabs:
        return "\t", " " * (
            min(len(indent) for indent in indents if len(indent) > 1) if max(map(len, indents)) > 1 else 1
        )
    return "\t", "\t"


def _nearest_place(lines: list[str], search: tuple[str, ...]) -> str:
    """Say where the block's most telling line stands, when it does, so that the next try can look there."""
    telling = max((line.strip() for line in search), key=len, default="")
    for place, line in enumerate(lines):
        if telling and line.strip() == telling:
            return f"; its line {telling[:60]!r} is line {place + 1}, the lines around it differ"
    return ""
