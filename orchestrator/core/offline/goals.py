"""Which goals a survey can answer: those that ask for better code, not for other behaviour."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from orchestrator.core.domain import OrchestratorError
from orchestrator.core.text import one_line

MAX_GOAL_CHARACTERS = 2000


class Group(StrEnum):
    """The groups into which an improvement falls, in the order in which they are done."""

    MECHANICAL = "Fix what a tool can fix"
    BUGS = "Fix obvious bugs"
    ERRORS = "Improve error handling"
    TESTS = "Add unit tests"
    PERFORMANCE = "Optimize performance bottlenecks"
    ARCHITECTURE = "Refactor architecture"
    FORMATTING = "Format"


class NeedsModel(OrchestratorError):
    """The goal asks for something that no survey of the code can tell."""

    exit_code = 4

    def __init__(self, goal: str) -> None:
        super().__init__(
            f"{one_line(goal, 80)!r} needs a model: without one only goals such as 'Improve this application' can be "
            "planned; set OPENROUTER_API_KEY, or another key that `orchestrator doctor` names, and plan again"
        )


_GENERAL = re.compile(
    r"improv\w*|enhanc\w*|clean\w*|tid(y|ies|ied|ying)|harden\w*|polish\w*|quality|modernis\w*|moderniz\w*|better|healthier"
    r"|maintainab\w*|robust\w*|housekeeping|technical|debt|review|overhaul|refine\w*|refresh\w*|health|ship-?shape"
)
_BY_GROUP: tuple[tuple[Group, re.Pattern[str]], ...] = (
    (
        Group.BUGS,
        re.compile(r"bugs?|faults?|defects?|issues?|problems?|mistakes?|lint(ing)?|warnings?|findings?"),
    ),
    (Group.ERRORS, re.compile(r"errors?|exceptions?|error-handling|handling|failures?")),
    (Group.TESTS, re.compile(r"tests?|testing|coverage|unit-tests?|untested")),
    (
        Group.PERFORMANCE,
        re.compile(r"perform\w*|optimi[sz]\w*|speed|faster|slow|bottlenecks?|efficien\w*|quick(er)?"),
    ),
    (
        Group.ARCHITECTURE,
        re.compile(
            r"refactor\w*|architectur\w*|restructur\w*|simplif\w*|complex\w*|structure|readab\w*|decoupl\w*"
        ),
    ),
    (Group.FORMATTING, re.compile(r"format\w*|style|whitespace")),
)
_OBJECTS = re.compile(
    r"apps?|applications?|code|codebase|code-?base|projects?|repos?|repositor(y|ies)|librar(y|ies)|services?|tools?|programs?"
    r"|packages?|modules?|software|scripts?|system|product|source|sources|backend|frontend|server|client|cli|api|website"
    r"|site|functions?|files?|everything|it|things?|implementation|base"
)
_FILLERS = frozenset(
    {
        "a", "an", "and", "all", "also", "any", "as", "at", "be", "but", "by", "can", "could", "do",
        "existing", "find", "fix", "fixes", "fixing", "for", "from", "general", "generally", "get",
        "give", "good", "have", "how", "i", "in", "into", "is", "its", "just", "less", "let", "make",
        "makes", "me", "more", "most", "much", "my", "need", "needs", "next", "of", "on", "or", "our",
        "out", "over", "overall", "own", "please", "possible", "run", "see", "should", "so", "some",
        "than", "that", "the", "their", "them", "there", "these", "this", "to", "under", "unit", "up",
        "use", "us", "very", "want", "way", "ways", "we", "what", "where", "which", "while", "with",
        "without", "you", "your", "add", "adding", "write", "increase", "reduce", "raise", "remove",
        "obvious", "common", "missing", "bad", "small", "simple", "python", "javascript", "typescript",
        "go", "rust", "java", "new", "needed", "great", "again",
    }
)  # fmt: skip
# Words that ask for other behaviour: whatever stands around them, no survey can plan that.
_OTHER = re.compile(
    r"implement\w*|featur\w*|support\w*|migrat\w*|integrat\w*|creat\w*|build\w*|design\w*|endpoint\w*|login|auth\w*|page\w*"
    r"|button\w*|translat\w*|upgrad\w*|replac\w*|rewrit\w*|renam\w*|port|deploy\w*|docker\w*|document\w*|docs?|readme"
    r"|analy[sz]\w*|suggest\w*|explain\w*|schema\w*|database|ui|ux|screen\w*|theme\w*|seo|accessib\w*|convert\w*"
)
_WORD = re.compile(r"[\w./*-]+")
_MAX_UNKNOWN = 1


def groups_of(goal: str, *, names: Iterable[str] = ()) -> frozenset[Group]:
    """Return the groups a goal asks for; all of them when it asks for improvement in general.

    `names` are words that mean this repository or a part of it. Raises NeedsModel when the goal asks for
    anything that is not an improvement of the code there is.
    """
    known = {name.casefold() for name in names if name}
    if len(goal) > MAX_GOAL_CHARACTERS:
        raise NeedsModel(goal)
    general = False
    asked: set[Group] = set()
    perhaps: set[Group] = set()
    unknown = 0
    for match in _WORD.finditer(goal.casefold()):
        word = match.group().strip("._-/")
        group = next((group for group, pattern in _BY_GROUP if pattern.fullmatch(word)), None)
        if word in known and group is not None:
            # Nearly every project has a directory `tests`; one called `errors` may well be meant by its name.
            (asked if group is Group.TESTS else perhaps).add(group)
            continue
        if not word or word in known or "/" in word or word.isdigit():
            continue
        if _OTHER.fullmatch(word):
            raise NeedsModel(goal)
        if _GENERAL.fullmatch(word):
            general = True
        elif group is not None:
            asked.add(group)
        elif word not in _FILLERS and not _OBJECTS.fullmatch(word):
            unknown += 1
    if not general and not asked:
        asked = perhaps
    if unknown > _MAX_UNKNOWN or not (general or asked):
        raise NeedsModel(goal)
    if not asked:
        return frozenset(Group)
    tools = {Group.MECHANICAL} if Group.BUGS in asked else set()
    return frozenset(asked | tools)
