"""The standard: a markdown document whose bullets are the rules by which a text is cheap or smart.

    ## Cheap Model Tasks (< 1000 tokens):
    - Bug fixes: fix, bug, error
      What follows indented is prose for people and for the planner.

A tier's heading opens it; its place in the document is its place in price, cheapest first. Each bullet is a rule,
`cheap/bug-fixes`; the words after its colon are the signal words by which a text is recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.domain import (
    DecidedBy,
    InvalidDocument,
    OrchestratorError,
    Problem,
    Tag,
    Tier,
)
from orchestrator.core.text import did_you_mean, nearest, one_line
from orchestrator.core.words import counted, forms, words

MAX_CHARACTERS = 256 * 1024
USUAL_TIERS = ("cheap", "smart")

_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_TIER = re.compile(r"(?P<tier>.+?)\s+(?:models?\s+)?tasks?\s*(?:\((?P<bound>[^()]*)\))?\s*:?", re.IGNORECASE)
_BOUND = re.compile(r"(?P<sign><=|>=|<|>|≤|≥)\s*(?P<tokens>\d[\d,_ ]*)\s*tokens?", re.IGNORECASE)
_BULLET = re.compile(r"([-*+])\s+(.*)")
_MARKUP = re.compile(r"[*`]+")


class UnknownRule(OrchestratorError):
    """A category that names no rule of the standard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One bullet: `id` is `tier/slug-of-the-title`; `line` counts from 1."""

    id: str
    title: str
    tier: Tier
    line: int
    signals: tuple[str, ...] = ()
    prose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSection:
    """One tier with its rules. A likely output of more than `max_tokens` does not belong into it (None: no bound);
    `min_tokens` is where the document says that it begins."""

    tier: Tier
    line: int
    rules: tuple[Rule, ...]
    max_tokens: int | None = None
    min_tokens: int | None = None
    prose: str = ""


@dataclass(frozen=True, slots=True)
class _Signal:
    """A signal word or phrase, as the forms each of its words may take."""

    text: str
    forms: tuple[frozenset[str], ...]
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """A parsed document: tiers cheapest first. Built by `read_standard` only."""

    tiers: tuple[TierSection, ...]
    source: str
    text: str = field(repr=False)
    digest: str = ""
    _signals: Mapping[str, tuple[_Signal, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule in the order of the document."""
        return tuple(rule for section in self.tiers for rule in section.rules)

    def rule(self, category: str) -> Rule:
        """Return the rule that `category` names: its id, its title or its slug. Raises UnknownRule."""
        wanted = " ".join(category.split()).casefold()
        slug = _slug(wanted)
        for rule in self.rules:
            if wanted in (rule.id, rule.title.casefold()):
                return rule
        same_slug = [rule for rule in self.rules if slug and rule.id.partition("/")[2] == slug]
        if same_slug:
            # A slug that several tiers have means the dearest of them.
            return same_slug[-1]
        names = [rule.id for rule in self.rules]
        hint = did_you_mean(wanted, names) or f": it has {one_line(', '.join(names), 400)}"
        raise UnknownRule(f"{self.source} has no rule {one_line(category, 60)!r}{hint}")

    def tag_for(self, category: str, *, decided_by: DecidedBy = DecidedBy.PLANNER) -> Tag:
        """Return the tag of a category that somebody chose from the rules. Raises UnknownRule."""
        rule = self.rule(category)
        return Tag(
            tier=rule.tier,
            rule=rule.id,
            decided_by=decided_by,
            reason=f"{rule.title!r} is a {rule.tier} rule ({self.source}:{rule.line})",
        )

    def match(self, text: str) -> Tag | None:
        """Return the tag of the tier with most signal words in `text`, the dearer one on a tie; None without any.

        The longest phrase wins where several begin at one word, so `simple refactoring` is not also `refactoring`.
        Linear in the length of the text.
        """
        found: dict[str, dict[str, str]] = {}
        for signal, shown in self._found(words(text)):
            found.setdefault(signal.rule.id, {}).setdefault(signal.text, shown)
        if not found:
            return None
        hits = [
            {word: shown for rule in section.rules for word, shown in found.get(rule.id, {}).items()}
            for section in self.tiers
        ]
        best = max(range(len(hits)), key=lambda index: (len(hits[index]), index))
        section = self.tiers[best]
        rule = max(section.rules, key=lambda rule: _weight(found.get(rule.id, {})))
        others = [
            f"{len(other)} of {self.tiers[index].tier}"
            for index, other in enumerate(hits)
            if other and index != best
        ]
        tie = any(len(other) == len(hits[best]) for index, other in enumerate(hits) if index != best)
        reason = f"{counted(len(hits[best]), 'signal word')} of {section.tier}"
        if others:
            reason += f", {', '.join(others)}" + (": a tie goes to the dearer tier" if tie else "")
        evidence = [*found.get(rule.id, {}).values(), *hits[best].values()]
        return Tag(
            tier=section.tier,
            rule=rule.id,
            evidence=tuple(dict.fromkeys(evidence)),
            decided_by=DecidedBy.STANDARD,
            reason=reason,
        )

    def exceeds_bound(self, tag: Tag, output_tokens: int) -> bool:
        """Whether a likely output of so many tokens is more than the tag's tier allows."""
        section = self._section(tag.tier)
        return section is not None and section.max_tokens is not None and output_tokens > section.max_tokens

    def bounded(self, tag: Tag, output_tokens: int) -> Tag:
        """Return `tag`, or the same rule in the cheapest dearer tier whose token bound admits the likely output."""
        if not self.exceeds_bound(tag, output_tokens):
            return tag
        own = next(index for index, section in enumerate(self.tiers) if section.tier == tag.tier)
        dearer = self.tiers[own + 1 :]
        fitting = [
            section for section in dearer if section.max_tokens is None or output_tokens <= section.max_tokens
        ]
        if not dearer:
            return tag
        section = fitting[0] if fitting else dearer[-1]
        return Tag(
            tier=section.tier,
            rule=tag.rule,
            evidence=tag.evidence,
            decided_by=tag.decided_by,
            reason=f"{tag.rule}, but a likely output of {output_tokens:,} tokens is above the "
            f"{self.tiers[own].max_tokens:,} of {tag.tier}",
        )

    def _section(self, tier: Tier) -> TierSection | None:
        return next((section for section in self.tiers if section.tier == tier), None)

    def _found(self, tokens: Sequence[str]) -> Iterable[tuple[_Signal, str]]:
        at = 0
        while at < len(tokens):
            longest = 0
            matches: list[tuple[_Signal, str]] = []
            for signal in self._signals.get(tokens[at], ()):
                length = len(signal.forms)
                if length < longest or at + length > len(tokens):
                    continue
                if all(tokens[at + place] in signal.forms[place] for place in range(1, length)):
                    if length > longest:
                        longest, matches = length, []
                    matches.append((signal, " ".join(tokens[at : at + length])))
            yield from matches
            at += max(longest, 1)


def read_standard(
    text: str, *, source: str, digest: str = "", known_tiers: Iterable[str] = USUAL_TIERS
) -> Standard:
    """Return the standard that `text` holds. Raises InvalidDocument with every problem and its line.

    `known_tiers` have a model to start on: a tier whose name is nearly one of them is taken for a slip of the pen.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidDocument(
            [Problem(where=source, what=f"{len(text):,} characters are more than {MAX_CHARACTERS:,}")]
        )
    reader = _Reader(source, tuple(known_tiers))
    # Split as editors count lines: not at form feeds or Unicode separators.
    for number, line in enumerate(text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"), 1):
        reader.read(number, line)
    tiers = reader.finish()
    index: dict[str, list[_Signal]] = {}
    for section in tiers:
        for rule in section.rules:
            for phrase in rule.signals:
                signal = _Signal(phrase, tuple(frozenset(forms(word)) for word in words(phrase)), rule)
                for form in signal.forms[0]:
                    index.setdefault(form, []).append(signal)
    return Standard(
        tiers=tiers,
        source=source,
        text=text,
        digest=digest,
        _signals={form: tuple(signals) for form, signals in index.items()},
    )


def _weight(signals: Mapping[str, str]) -> tuple[int, int]:
    """More signal words before longer ones; the first rule of the document on a tie."""
    return len(signals), sum(len(words(signal)) for signal in signals)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.casefold()).strip("-")


@dataclass(slots=True)
class _DraftRule:
    line: int
    title: str
    signals: tuple[str, ...]
    prose: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _DraftTier:
    line: int
    name: str
    max_tokens: int | None
    min_tokens: int | None
    rules: list[_DraftRule] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)


class _Reader:
    """Reads line by line; keeps going after a fault, so that all of them are named."""

    def __init__(self, source: str, known_tiers: tuple[str, ...]) -> None:
        self.source, self.known = source, known_tiers
        self.problems: list[tuple[int, str]] = []
        self.tiers: list[_DraftTier] = []
        self.open: _DraftTier | None = None
        self.fence = ""
        self.front_matter = False
        self.comment = False

    def fault(self, line: int, what: str) -> None:
        self.problems.append((line, what))

    def read(self, number: int, line: str) -> None:
        if self._not_a_rule(number, line):
            return
        if heading := _HEADING.match(line):
            self._heading(number, len(heading[1]), heading[2])
            return
        if self.open is None:
            return
        bullet = _BULLET.match(line)
        if bullet:
            self._bullet(number, bullet[2])
        elif line.strip():
            rules = self.open.rules
            prose = rules[-1].prose if rules and line[0].isspace() else self.open.prose
            prose.append(line.strip())

    def _not_a_rule(self, number: int, line: str) -> bool:
        """Front matter, fenced code and comments are passed over."""
        if self.front_matter or (number == 1 and line.rstrip() == "---"):
            self.front_matter = number == 1 or line.rstrip() not in ("---", "...")
            return True
        fence = _FENCE.match(line)
        if self.fence:
            self.fence = "" if fence and fence[1] == self.fence else self.fence
            return True
        if fence:
            self.fence = fence[1]
            return True
        if self.comment or line.lstrip().startswith("<!--"):
            self.comment = "-->" not in line
            return True
        return False

    def _heading(self, number: int, level: int, title: str) -> None:
        title = _MARKUP.sub("", title).strip()
        if level == 1:
            self.open = None
            return
        found = _TIER.fullmatch(title)
        if level != 2:
            if found and found["bound"]:
                self.fault(number, f"a tier is opened by `## {one_line(title, 60)}`, not by {'#' * level}")
            return
        self.open = None
        if not found:
            if _BOUND.search(title) or title.rstrip(": ").casefold() in self.known:
                self.fault(
                    number,
                    f"{one_line(title, 60)!r} opens no tier: write `## Cheap Model Tasks (< 1000 tokens):`",
                )
            return
        name = _slug(found["tier"])
        if not name:
            self.fault(number, f"{one_line(found['tier'], 40)!r} is no name for a tier: use latin letters")
            return
        near = nearest(name, self.known)
        if near and name not in self.known:
            self.fault(number, f"unknown tier {one_line(name, 40)!r}, did you mean {near!r}?")
        for tier in self.tiers:
            if tier.name == name:
                self.fault(number, f"tier {name!r} is already opened in line {tier.line}")
        most, least = self._bound(number, found["bound"])
        self.open = _DraftTier(number, name, most, least)
        self.tiers.append(self.open)

    def _bound(self, number: int, bound: str | None) -> tuple[int | None, int | None]:
        if bound is None:
            return None, None
        found = _BOUND.fullmatch(bound.strip())
        digits = re.sub(r"\D", "", found["tokens"]) if found else ""
        if not found or not 1 <= int(digits[:12]) <= 10_000_000:
            self.fault(number, f"({one_line(bound, 40)}) is no token bound: write it like (< 1000 tokens)")
            return None, None
        tokens = int(digits)
        return (tokens, None) if found["sign"] in ("<", "<=", "≤") else (None, tokens)

    def _bullet(self, number: int, text: str) -> None:
        assert self.open is not None
        title, _, after = _MARKUP.sub("", text).partition(":")
        title = " ".join(title.split()).rstrip(".")
        signals = []
        for signal in after.split(",") if after.strip() else ():
            cleaned = " ".join(signal.strip(" \t\"'.").split())
            if not words(cleaned):
                self.fault(number, f"an empty signal word after {one_line(title, 40)!r}")
            elif cleaned.casefold() in signals:
                self.fault(number, f"signal word {one_line(cleaned, 40)!r} stands twice")
            else:
                signals.append(cleaned.casefold())
        if not _slug(title):
            self.fault(number, "a rule without a title: write `- Bug fixes: fix, bug`")
            return
        self.open.rules.append(_DraftRule(number, title, tuple(signals)))

    def finish(self) -> tuple[TierSection, ...]:
        if self.fence:
            self.fault(0, f"a code block opened by {self.fence} is never closed")
        if not self.tiers:
            self.fault(0, "no tier: a heading like `## Cheap Model Tasks (< 1000 tokens):` opens one")
        lines: dict[str, int] = {}
        sections = []
        for draft in self.tiers:
            if not draft.rules:
                self.fault(draft.line, f"tier {draft.name!r} has no rule: write `- Bug fixes: fix, bug`")
            rules = []
            for rule in draft.rules:
                rule_id = f"{draft.name}/{_slug(rule.title)}"
                if rule_id in lines:
                    self.fault(rule.line, f"rule {rule_id} is already in line {lines[rule_id]}")
                lines.setdefault(rule_id, rule.line)
                rules.append(
                    Rule(
                        id=rule_id,
                        title=rule.title,
                        tier=Tier(draft.name),
                        line=rule.line,
                        signals=rule.signals,
                        prose=" ".join(rule.prose),
                    )
                )
            sections.append(
                TierSection(
                    tier=Tier(draft.name),
                    line=draft.line,
                    rules=tuple(rules),
                    max_tokens=draft.max_tokens,
                    min_tokens=draft.min_tokens,
                    prose=" ".join(draft.prose),
                )
            )
        self._check_bounds()
        if self.problems:
            raise InvalidDocument(
                Problem(where=f"{self.source}:{line}" if line else self.source, what=what)
                for line, what in sorted(self.problems)
            )
        return tuple(sections)

    def _check_bounds(self) -> None:
        """Tiers run from cheap to dear, so their bounds may only grow."""
        reached, by = 0, ""
        for tier in self.tiers:
            bound = tier.max_tokens if tier.max_tokens is not None else tier.min_tokens
            if bound is None:
                continue
            if bound < reached:
                self.fault(
                    tier.line,
                    f"{tier.name!r} is bounded by {bound:,} tokens, below the {reached:,} of {by!r}: "
                    "order the tiers from cheap to dear",
                )
            reached, by = max(reached, bound), tier.name if bound >= reached else by
