"""The commands by which a project is checked: as configured, else as its survey found them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.adapters.suites import Runner, Suite, suite_of
from orchestrator.core.facts import Command, CommandKind

# Runners of runners: they make environments of their own, which takes minutes and a network.
_INDIRECT = ("tox", "nox", "make", "just")
_BESIDE_TESTS = (CommandKind.TYPE, CommandKind.LINT, CommandKind.BUILD)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCommand:
    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCommands:
    """`suites` are the test commands, `others` types, lint and build; `named` whatever a plan may call by name."""

    suites: tuple[Suite, ...] = ()
    others: tuple[NamedCommand, ...] = ()
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def canonical(self) -> str:
        """The same text for the same commands, to name what was measured with them."""
        lines = [" ".join(suite.argv) + suite.script for suite in self.suites]
        return "\n".join([*lines, *(" ".join((other.name, *other.argv)) for other in self.others)])


def project_commands(
    configured: Mapping[str, tuple[str, ...]], detected: Sequence[Command]
) -> ProjectCommands:
    """Choose what checks the project. A configured `test` (`type`, `lint`, `build`) replaces all detected ones."""
    if argv := configured.get("test"):
        suites: tuple[Suite, ...] = (suite_of(argv),)
    else:
        suites = tuple(_suites(command for command in detected if command.kind is CommandKind.TEST))
    others: list[NamedCommand] = []
    for kind in _BESIDE_TESTS:
        if argv := configured.get(kind.value):
            others.append(NamedCommand(name=kind.value, argv=argv))
            continue
        found = [command for command in detected if command.kind is kind]
        # What compiles to run its tests needs no build beside them.
        compiled = {"go", "cargo"} & {suite.argv[0] for suite in suites}
        if kind is CommandKind.BUILD and (compiled or not any(c.argv[0] in _NODE for c in found)):
            continue
        root = [command for command in found if not command.package and command.argv[0] not in _INDIRECT]
        for command in root or [command for command in found if command.argv[0] not in _INDIRECT]:
            others.append(NamedCommand(name=command.name, argv=command.argv))
    named = {command.name: command.argv for command in detected} | dict(configured)
    return ProjectCommands(suites=suites, others=tuple(others), named=named)


_NODE = ("npm", "pnpm", "yarn", "bun", "npx")


def _suites(commands: Iterable[Command]) -> Iterable[Suite]:
    """One suite per package, only the root's where it has one: that covers the packages below."""
    chosen: dict[str, Command] = {}
    for command in commands:
        known = chosen.get(command.package)
        if known is None or (known.argv[0] in _INDIRECT and command.argv[0] not in _INDIRECT):
            chosen[command.package] = command
    root = chosen.get("")
    if root is not None and root.argv[0] not in _INDIRECT:
        # A repository may hold Python and JavaScript side by side.
        others = [c for c in commands if not c.package and (c.argv[0] in _NODE) != (root.argv[0] in _NODE)]
        chosen = {"": root, **{f"beside {place}": command for place, command in enumerate(others[:1])}}
    for command in chosen.values():
        suite = suite_of(command.argv, package=command.package, source=command.source)
        yield suite


__all__ = ["NamedCommand", "ProjectCommands", "Runner", "project_commands"]
