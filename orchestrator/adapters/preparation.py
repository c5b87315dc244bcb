"""Makes a bare worktree able to run the checks: dependencies, ignored files it needs, and proof of whose code runs."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator.adapters.background import in_background
from orchestrator.adapters.beneath import LARGEST_FILE, Beneath, PathRefused
from orchestrator.adapters.check_runner import CheckRunner, Environment, Ran
from orchestrator.adapters.denied_files import DeniedFiles, values_in
from orchestrator.adapters.git import Repository
from orchestrator.adapters.git_command import GitFailed
from orchestrator.adapters.preparation_compiled import detect_cargo, detect_go
from orchestrator.adapters.preparation_node import detect_node
from orchestrator.adapters.preparation_python import detect_python, python_path
from orchestrator.adapters.preparation_recipe import SETUP_SECONDS, Built, CannotPrepare, Recipe, failed
from orchestrator.adapters.registries import local_places, registry_variables
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.core.ports import Worktree

INCLUDE_FILE = ".worktreeinclude"
MOST_INCLUDED_FILES = 200
MOST_INCLUDED_BYTES = 50_000_000


class Preparation:
    """Prepares the worktrees of one repository; what is built is kept in the cache by the hash of its lock files.

    `commands` are configured set-up commands, which then are the only ones; `needs` are Python modules that the
    checks call, such as `pytest`; `changed` gives the files of a worktree that differ from its base. There is a
    network for what the commit `base` declares only: what a model has changed since is set up without one, for it
    could send away whatever it finds. `denied` are further globs of files whose values no output may hold.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        base: str,
        changed: Callable[[Worktree], Awaitable[Sequence[str]]],
        sandbox: Sandbox,
        environ: Mapping[str, str],
        cache: Path,
        commands: Sequence[Sequence[str]] = (),
        network: bool = True,
        denied: Iterable[str] = (),
    ) -> None:
        self.repository, self.base, self.environ, self.network = repository, base, environ, network
        self.changed = changed
        self.commands = tuple(tuple(command) for command in commands)
        self.built = Built(cache.resolve() / "environments")
        self.downloads = cache.resolve() / "downloads"
        self.runner = CheckRunner(sandbox=sandbox, environ=environ, seconds=SETUP_SECONDS)
        self.denied = DeniedFiles(denied)
        self._denied: list[str] | None = None
        self.needs: tuple[str, ...] = ()
        self._building = asyncio.Lock()

    async def prepare(self, worktree: Worktree) -> Environment:
        """Make the worktree ready, and again ready when it was before. Raises CannotPrepare."""
        root = Path(worktree.path)
        environment = await self._set_up_worktree(worktree, root)
        # After the set-up: it has a network, and what is copied may hold passwords.
        copied = await in_background(lambda: self._include(root))
        return replace(environment, secrets=copied | await in_background(lambda: self._denied_values(root)))

    async def _set_up_worktree(self, worktree: Worktree, root: Path) -> Environment:
        changed = await self._changed_set_up(worktree)
        network = self.network and not changed
        if self.commands:
            return await self._configured(root, network)
        environment = Environment(variables=python_path(root), said="")
        for recipe in await in_background(lambda: self._recipes(root)):
            try:
                part = await self._use(recipe, root, network)
            except CannotPrepare as error:
                if (own := self._of_checkout(recipe, root)) is None:
                    if self.network and not network:
                        why = f"{changed[0]} was changed by the run, so it is set up without a network"
                        raise CannotPrepare(f"{error}; {why}") from None
                    raise
                part = replace(own, said=f"{own.said}, because {error}")
            environment = _merged(environment, part)
        return environment if environment.said else replace(environment, said="no set-up needed")

    def _recipes(self, root: Path) -> list[Recipe]:
        found = (
            detect_python(root, needs=self.needs), detect_node(root), detect_go(root), detect_cargo(root),
        )  # fmt: skip
        return [recipe for recipe in found if recipe is not None]

    async def _changed_set_up(self, worktree: Worktree) -> list[str]:
        """Files that act in a set-up and are not as the base has them, landed or not."""
        landed = await in_background(lambda: self.repository.changed_between(self.base, worktree.base))
        return sorted({path for path in (*landed, *await self.changed(worktree)) if _acts(path)})

    async def _use(self, recipe: Recipe, root: Path, network: bool) -> Environment:
        async with self._building:
            place = self.built.find(recipe.key)
            if place is None:
                place = await self.built.make(recipe, root, partial(self._set_up, network=network))
        return await in_background(lambda: recipe.use(place, root))

    async def _set_up(
        self, argv: Sequence[str], cwd: Path, variables: dict[str, str], *, network: bool
    ) -> Ran:
        """Run one command of a set-up: the only thing that has a network, and no key either."""
        registries = registry_variables(self.environ)
        self.downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = {
            "PIP_CACHE_DIR": str(self.downloads / "pip"),
            "UV_CACHE_DIR": str(self.downloads / "uv"),
            "npm_config_cache": str(self.downloads / "npm"),
            "YARN_CACHE_FOLDER": str(self.downloads / "yarn"),
        }
        return await self.runner.run(
            argv,
            worktree=str(cwd),
            environment=Environment(
                variables={**registries, **own, **variables, **({} if network else _OFFLINE)},
                readable=local_places(registries),
                writable=(str(self.built.directory), str(self.downloads)),
            ),
            network=network,
        )

    async def _configured(self, root: Path, network: bool) -> Environment:
        for argv in self.commands:
            ran = await self._set_up(argv, root, {}, network=network)
            if ran.exit_code != 0:
                raise failed(f"the configured set-up {' '.join(argv)}", ran)
        environment = Environment(variables=python_path(root), said="set up as configured")
        for name in (".venv", "venv"):
            python = root / name / "bin" / "python"
            if python.exists():
                environment = replace(environment, python=str(python), path=(str(python.parent),))
                break
        modules = root / "node_modules" / ".bin"
        return (
            replace(environment, path=(*environment.path, str(modules))) if modules.is_dir() else environment
        )

    def _of_checkout(self, recipe: Recipe, root: Path) -> Environment | None:
        """The virtual environment in the user's own checkout, read-only; its canary decides whether it will do."""
        if recipe.name not in ("uv", "poetry", "pip"):
            return None
        for name in (".venv", "venv"):
            python = self.repository.root / name / "bin" / "python"
            if python.exists():
                home = python.resolve().parent.parent
                return Environment(
                    python=str(python),
                    path=(str(python.parent),),
                    variables={"VIRTUAL_ENV": str(python.parent.parent)} | python_path(root),
                    readable=(str(python.parent.parent), str(home)),
                    said=f"the checkout's own {name}",
                )
        return None

    # --- what may not be seen ---------------------------------------------------------------------

    def _denied_values(self, root: Path) -> frozenset[str]:
        """The values in the repository's own denied files: a check that prints them would tell a model."""
        if self._denied is None:
            self._denied = self.denied.with_secrets(self.repository.files_at(self.base))[:MOST_INCLUDED_FILES]
        inside, values = Beneath(str(root)), set[str]()
        for path in self._denied:
            try:
                values |= set(values_in(inside.read(path) or b""))
            except PathRefused:
                continue  # A link: what it leads to is denied by its own name, or not at all.
        return frozenset(values)

    # --- ignored files ----------------------------------------------------------------------------

    def _include(self, root: Path) -> frozenset[str]:
        """Copy the ignored files that `.worktreeinclude` names from the checkout. Raises CannotPrepare.

        Return the values of their settings, which no model and no report may see: checks may print them.
        """
        listing = root / INCLUDE_FILE
        if not listing.is_file() or listing.is_symlink():
            return frozenset()
        git = self.repository.git
        try:
            named = git.paths("ls-files", "-z", "--others", "--ignored", f"--exclude-from={listing}")
            if not named:
                return frozenset()
            asked = b"".join(os.fsencode(path) + b"\0" for path in named)
            # It refuses to work where pathspecs are literal, though it takes plain names only.
            done = git.completed(
                "check-ignore", "-z", "--stdin", stdin=asked, extra={"GIT_LITERAL_PATHSPECS": "0"}
            )
            if done.exit_code not in (0, 1):
                raise GitFailed(["check-ignore"], done.exit_code, done.error_text)
        except GitFailed as error:
            raise CannotPrepare(f"{INCLUDE_FILE} cannot be followed: {error}") from None
        # Only what git ignores: anything else would become a part of the commit.
        ignored = [os.fsdecode(path) for path in done.stdout.split(b"\0") if path]
        if len(ignored) > MOST_INCLUDED_FILES:
            raise CannotPrepare(
                f"{INCLUDE_FILE} names {len(ignored)} files, at most {MOST_INCLUDED_FILES} are copied: name fewer"
            )
        source, target = Beneath(str(self.repository.root)), Beneath(str(root))
        total = 0
        values: set[str] = set()
        for path in ignored:
            try:
                data = source.read(path)
                if data is None:
                    continue
                total += len(data)
                if total > MOST_INCLUDED_BYTES or len(data) > LARGEST_FILE:
                    raise CannotPrepare(
                        f"{INCLUDE_FILE} names more than {MOST_INCLUDED_BYTES} bytes: name fewer files"
                    )
                target.write(path, data)
                values |= set(values_in(data))
            except PathRefused:
                continue  # A link: what it leads to is not named.
        return frozenset(values)


# Tools that know there is no network fail at once instead of trying again for a minute.
_OFFLINE = {
    "PIP_RETRIES": "0", "UV_OFFLINE": "1", "npm_config_offline": "true", "npm_config_fetch_retries": "0",
    "GOPROXY": "off", "CARGO_NET_OFFLINE": "true",
}  # fmt: skip

_ACTING = re.compile(
    r"(^|/)(pyproject\.toml|setup\.(py|cfg)|[^/]*requirements[^/]*\.(txt|in)|[^/]+\.lock|package\.json|\.npmrc"
    r"|package-lock\.json|npm-shrinkwrap\.json|pnpm-(lock|workspace)\.yaml|\.yarnrc(\.yml)?|\.pnpmfile\.cjs|go\.(mod|sum)"
    r"|Cargo\.toml|build\.rs|\.cargo/.*|[Mm]akefile|GNUmakefile|[Jj]ustfile|[^/]+\.(sh|mk)|Pipfile|uv\.toml|\.pth)$"
    r"|(^|/)(requirements|scripts|patches|\.yarn)/"
)


def _acts(path: str) -> bool:
    """Whether a set-up would obey the file, or run it."""
    return _ACTING.search(path) is not None


def acts_in_set_up(paths: Iterable[str]) -> bool:
    return any(map(_acts, paths))


def _merged(one: Environment, other: Environment) -> Environment:
    own = other.python != Environment().python
    return Environment(
        python=other.python if own else one.python,
        path=(*one.path, *other.path),
        variables={**one.variables, **other.variables},
        readable=(*one.readable, *other.readable),
        writable=(*one.writable, *other.writable),
        said="; ".join(text for text in (one.said, other.said) if text),
    )
