"""The faults of a plan, collected so that all of them are told at once."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.core.domain import InvalidDocument, Problem

MAX_PROBLEMS = 50


class InvalidPlan(InvalidDocument):
    """A text that is not a plan, or a plan that could not be run; `problems` names every fault."""

    exit_code = 5


class Problems:
    """Collects faults in order; past a bound they are only counted, because nobody reads a thousand lines."""

    def __init__(self, at_most: int = MAX_PROBLEMS) -> None:
        self._at_most = at_most
        self._found: list[Problem] = []
        self._seen: set[Problem] = set()
        self._more = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, where: str, what: str) -> None:
        problem = Problem(where=where, what=what)
        if problem in self._seen:
            return
        if len(self._found) >= self._at_most:
            self._more += 1
            return
        self._seen.add(problem)
        self._found.append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.add(problem.where, problem.what)

    def found(self) -> tuple[Problem, ...]:
        if not self._more:
            return tuple(self._found)
        return (*self._found, Problem(where="plan", what=f"{self._more} more problems are not listed"))

    def raise_any(self) -> None:
        """Raise InvalidPlan when there is any."""
        if self._found:
            raise InvalidPlan(self.found())
