"""Routing patterns: RE2 alternations found at word boundaries, in the forms in which people write the words.

RE2 matches in time linear in the text, whatever the pattern; a pattern that it refuses is refused at load.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from orchestrator.core.catalogue import Match, RoutingRule
from orchestrator.core.words import forms

MAX_PATTERN_CHARACTERS = 20_000
# Below this, asking each pattern in turn is faster than one pass for all of them.
_FEW = 16
_SET_MEMORY = 512 * 1024 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9_]+(?:[ -][A-Za-z0-9_]+)*")
_ENDINGS = "(?:s|es|ed|ing)?"


@dataclass(frozen=True, slots=True)
class Hit:
    """The first rule that matches: its place, counted from 0, and what in the text it matched."""

    index: int
    evidence: str


def fault_in(pattern: str) -> str | None:
    """Say what is wrong with a pattern, in half a sentence; None when it can be used."""
    if not pattern.strip():
        return "an empty pattern matches every text"
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"{len(pattern):,} characters are more than {MAX_PATTERN_CHARACTERS:,}"
    try:
        re2.compile(_clean(pattern), _options())
    except re2.error as error:
        reason = error.args[0] if error.args else error
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        return f"no regular expression of RE2: {said}"
    if any(not alternative.strip() for alternative in alternatives(pattern)):
        return "an empty alternative (a stray `|`) matches every text"
    return None


def alternatives(pattern: str) -> tuple[str, ...]:
    """Split a pattern at its top-level `|`."""
    parts: list[str] = []
    depth = start = at = opened = 0
    in_class = False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]" or at == opened + 1
        elif char == "[":
            in_class, opened = True, at + (pattern[at + 1 : at + 2] == "^")
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "|" and depth == 0:
            parts.append(pattern[start:at])
            start = at + 1
        at += 1
    return (*parts, pattern[start:])


def expression(rule: RoutingRule) -> str:
    """The RE2 expression by which a rule's pattern is looked for."""
    if rule.match is Match.SUBSTRING:
        return f"(?:{_clean(rule.pattern)})"
    plain, other = [], []
    for alternative in alternatives(_clean(rule.pattern)):
        if _PLAIN.fullmatch(alternative):
            # A space or a hyphen in a phrase stands for either, or for a line break.
            plain.append(r"(?:\s+|-)".join(_any_form(word) for word in re.split("[ -]", alternative)))
        else:
            other.append(rf"(?:^|\b|\W)(?:{alternative}){_ENDINGS}(?:$|\b|\W)")
    if plain:
        other.insert(0, rf"\b(?:{'|'.join(plain)})\b")
    return "|".join(other)


class Patterns:
    """The compiled patterns of some rules, in order."""

    def __init__(self, rules: Sequence[RoutingRule]) -> None:
        self._rules = tuple(rules)
        self._expressions = [expression(rule) for rule in self._rules]
        self._compiled: dict[int, Any] = {}
        self._set = _compiled_set(self._expressions) if len(self._rules) > _FEW else None

    def first(self, text: str) -> Hit | None:
        """Return the first rule in order whose pattern is found in `text`."""
        text = _clean(text)
        for index in self._candidates(text):
            evidence = self._found(index, text)
            if evidence is not None:
                return Hit(index, evidence)
        return None

    def _candidates(self, text: str) -> Sequence[int]:
        everyone = range(len(self._rules))
        if self._set is None:
            return everyone
        found = self._set.Match(text)
        # The last pattern matches everything: without it, RE2 ran out of memory and has said nothing at all.
        if not found or len(everyone) not in found:
            return everyone
        return sorted(index for index in found if index < len(everyone))

    def _found(self, index: int, text: str) -> str | None:
        regexp = self._compiled.get(index)
        if regexp is None:
            regexp = self._compiled[index] = re2.compile(self._expressions[index], _options())
        if text.isascii() or self._rules[index].match is Match.SUBSTRING:
            match = regexp.search(text)
            return None if match is None else _shown(match.group())
        # RE2 knows only ASCII word boundaries: `fix` would be found in `préfix`.
        for match in regexp.finditer(text):
            if not _continues(text, match.start(), match.end()):
                return _shown(match.group())
        return None


@lru_cache(maxsize=8)
def patterns_of(rules: tuple[RoutingRule, ...]) -> Patterns:
    """The compiled patterns of these rules, kept for the next decision."""
    return Patterns(rules)


@dataclass(frozen=True, slots=True)
class Shadowed:
    """An alternative that can never decide, because an earlier rule matches wherever it does. Places from 0."""

    rule: int
    alternative: str
    by: int


def shadowed(rules: Sequence[RoutingRule]) -> list[Shadowed]:
    """Return the plain alternatives that an earlier rule always forestalls."""
    patterns = Patterns(rules)
    return [
        Shadowed(index, alternative, hit.index)
        for index, rule in enumerate(rules)
        for alternative in alternatives(rule.pattern)
        if _PLAIN.fullmatch(alternative) and (hit := patterns.first(alternative)) and hit.index < index
    ]


def _any_form(word: str) -> str:
    # Endings belong to words of letters; `v2` or `get_user` are meant as they stand.
    return "(?:" + "|".join(forms(word.lower()) if word.isalpha() else (word,)) + ")"


def _continues(text: str, start: int, end: int) -> bool:
    """Whether a word that the match begins or ends in goes on outside of it."""
    before = start > 0 and _in_word(text[start]) and _in_word(text[start - 1])
    return before or (end < len(text) and _in_word(text[end - 1]) and _in_word(text[end]))


def _in_word(char: str) -> bool:
    return char == "_" or char.isalnum()


def _shown(matched: str) -> str:
    return " ".join(matched.strip(" \t\r\n.,;:!?()[]{}\"'`").split()) or matched


def _clean(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, as question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return options


def _compiled_set(expressions: Sequence[str]) -> Any:
    options = _options()
    options.never_capture = True
    options.max_mem = _SET_MEMORY
    together = re2.Set.SearchSet(options)
    try:
        for each in expressions:
            together.Add(each)
        together.Add("")
        together.Compile()
    except re2.error:
        # Too large for one automaton: each pattern is asked in turn, slower but as well.
        return None
    return together
