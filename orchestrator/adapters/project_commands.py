"""The commands by which a project is checked: as configured, else as its survey found them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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
        suites = tuple(_suites([command for command in detected if command.kind is CommandKind.TEST]))
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


def _suites(commands: Sequence[Command]) -> list[Suite]:
    """The root's suites, which cover the packages below; or those of the packages, where they tell tests apart."""
    direct = [command for command in commands if command.argv[0] not in _INDIRECT] or list(commands)
    root = [suite_of_command(command) for command in direct if not command.package]
    packages: dict[str, Suite] = {}
    for command in direct:
        if command.package:
            packages.setdefault(command.package, suite_of_command(command))
    # A repository may hold Python and JavaScript side by side.
    chosen: dict[bool, Suite] = {}
    for suite in root:
        chosen.setdefault(suite.argv[0] in _NODE, suite)
    told = [suite for suite in packages.values() if suite.runner is not Runner.OTHER]
    if chosen and not (told and all(suite.runner is Runner.OTHER for suite in chosen.values())):
        named = list(chosen.values())
        return [named[0], *(replace(suite, label="beside") for suite in named[1:])]
    return list(packages.values())


def suite_of_command(command: Command) -> Suite:
    return suite_of(command.argv, package=command.package, source=command.source)


__all__ = ["NamedCommand", "ProjectCommands", "Runner", "project_commands"]
