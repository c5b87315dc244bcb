"""Go, Rust and the rest: what go.mod, Cargo.toml, a Makefile and their kin declare."""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.adapters.survey.manifests import Found, Manifests, Project, join, line_of
from orchestrator.core.facts import CommandKind, Package

_TARGETS: Mapping[CommandKind, tuple[str, ...]] = {
    CommandKind.SETUP: ("setup", "install-dev", "deps", "dependencies", "bootstrap"),
    CommandKind.TEST: ("test", "tests", "unittest", "test-unit"),
    CommandKind.TYPE: ("typecheck", "type-check", "mypy", "types"),
    CommandKind.LINT: ("lint", "check-lint", "vet"),
    CommandKind.BUILD: ("build", "compile"),
    CommandKind.FORMAT: ("format", "fmt"),
}


def read(manifests: Manifests, project: Project) -> None:
    _go(manifests, project)
    _cargo(manifests, project)
    _jvm_and_others(manifests, project)
    _targets(manifests, project)


def _go(manifests: Manifests, project: Project) -> None:
    for directory, text in manifests.named("go.mod"):
        path = join(directory, "go.mod")
        line = line_of(text, r"^module\s") or 1
        match = re.search(r"^module\s+(\S+)", text, re.MULTILINE)
        project.packages.append(
            Package(
                name=match.group(1) if match else directory or "(root)", directory=directory, ecosystem="go",
                path=path, line=line,
            )
        )  # fmt: skip
        go = ("go", "-C", directory) if directory else ("go",)
        prefix = directory + "/" if directory else ""
        tests = sorted(
            name for name in manifests.everything if name.startswith(prefix) and name.endswith("_test.go")
        )

        def add(
            kind: CommandKind,
            *argv: str,
            where: tuple[str, int] = (path, line),
            go: tuple[str, ...] = go,
            package: str = directory,
        ) -> None:
            project.commands.append(
                Found(kind=kind, argv=(*go, *argv), path=where[0], line=where[1], package=package, label="go")
            )

        add(CommandKind.SETUP, "mod", "download")
        if tests:
            add(CommandKind.TEST, "test", "./...", where=(tests[0], 1))
        add(CommandKind.BUILD, "build", "./...")
        add(CommandKind.LINT, "vet", "./...")
        for name in (".golangci.yml", ".golangci.yaml"):
            if not directory and manifests.text(name) is not None:
                project.commands.append(
                    Found(
                        kind=CommandKind.LINT, argv=("golangci-lint", "run"), path=name, line=1, label="golangci-lint"
                    )
                )  # fmt: skip


def _cargo(manifests: Manifests, project: Project) -> None:
    found = list(manifests.named("Cargo.toml"))
    for directory, text in found:
        path = join(directory, "Cargo.toml")
        declared = manifests.toml(path).get("package")
        if isinstance(declared, dict):
            project.packages.append(
                Package(
                    name=str(declared.get("name") or directory), directory=directory, ecosystem="cargo", path=path,
                    line=line_of(text, r"^\[package\]") or 1,
                )
            )  # fmt: skip
    directories = [directory for directory, _ in found]
    tops = [
        directory for directory in directories if not any(_below(directory, other) for other in directories)
    ]
    for directory in tops:
        path = join(directory, "Cargo.toml")
        line = line_of(manifests.text(path) or "", r"^\[(package|workspace)\]") or 1
        where = ("--manifest-path", path) if directory else ()
        for kind, verb in (
            (CommandKind.SETUP, "fetch"), (CommandKind.TEST, "test"), (CommandKind.BUILD, "build"),
        ):  # fmt: skip
            project.commands.append(
                Found(
                    kind=kind,
                    argv=("cargo", verb, *where),
                    path=path,
                    line=line,
                    package=directory,
                    label="cargo",
                )
            )
        if manifests.text(join(directory, "rustfmt.toml")) is not None:
            project.commands.append(
                Found(
                    kind=CommandKind.FORMAT, argv=("cargo", "fmt", *where), path=join(directory, "rustfmt.toml"),
                    line=1, package=directory, label="cargo",
                )
            )  # fmt: skip


def _below(directory: str, other: str) -> bool:
    return directory != other and (not other or directory.startswith(other + "/"))


def _jvm_and_others(manifests: Manifests, project: Project) -> None:
    def add(kind: CommandKind, argv: tuple[str, ...], path: str, pattern: str) -> None:
        line = line_of(manifests.text(path) or "", pattern)
        if line:
            label = argv[0].rpartition("/")[2]
            project.commands.append(Found(kind=kind, argv=argv, path=path, line=line, label=label))

    everything = manifests.everything
    if manifests.text("pom.xml") is not None:
        maven = "./mvnw" if "mvnw" in everything else "mvn"
        add(CommandKind.BUILD, (maven, "-B", "compile"), "pom.xml", r"<project\b")
        if any(path.startswith("src/test/") or "/src/test/" in path for path in everything):
            add(CommandKind.TEST, (maven, "-B", "test"), "pom.xml", r"<project\b")
    for script in ("build.gradle", "build.gradle.kts"):
        if manifests.text(script) is not None:
            gradle = "./gradlew" if "gradlew" in everything else "gradle"
            add(CommandKind.BUILD, (gradle, "assemble"), script, r"\S")
            if any("src/test/" in path for path in everything):
                add(CommandKind.TEST, (gradle, "test"), script, r"\S")
    if manifests.text("Gemfile") is not None:
        add(CommandKind.SETUP, ("bundle", "install"), "Gemfile", r"^\s*source\b")
        if any(path.endswith("_spec.rb") for path in everything):
            add(CommandKind.TEST, ("bundle", "exec", "rspec"), "Gemfile", r"rspec")
        add(CommandKind.LINT, ("bundle", "exec", "rubocop"), "Gemfile", r"rubocop")
    if manifests.text("Rakefile") is not None:
        add(
            CommandKind.TEST,
            ("bundle", "exec", "rake", "test"),
            "Rakefile",
            r"Rake::TestTask|task\s+:?test\b",
        )
    scripts = manifests.json("composer.json").get("scripts")
    if isinstance(scripts, dict):
        for name, kind in (
            ("test", CommandKind.TEST),
            ("lint", CommandKind.LINT),
            ("phpstan", CommandKind.TYPE),
        ):
            if name in scripts:
                add(kind, ("composer", "run-script", name), "composer.json", rf'"{name}"\s*:')
    if manifests.text("composer.json") is not None:
        add(CommandKind.SETUP, ("composer", "install"), "composer.json", r"\{")


def _targets(manifests: Manifests, project: Project) -> None:
    """Targets of a Makefile or justfile, after what the languages' own manifests say."""
    for name, argv, pattern in (
        ("GNUmakefile", ("make",), r"^{}\s*:(?!=)"),
        ("makefile", ("make",), r"^{}\s*:(?!=)"),
        ("Makefile", ("make",), r"^{}\s*:(?!=)"),
        ("justfile", ("just",), r"^{}(\s[^:=]*)?:(?!=)"),
        ("Justfile", ("just",), r"^{}(\s[^:=]*)?:(?!=)"),
    ):
        text = manifests.text(name)
        if text is None:
            continue
        for kind, targets in _TARGETS.items():
            for target in targets:
                if line := line_of(text, pattern.format(re.escape(target))):
                    project.commands.append(
                        Found(
                            kind=kind, argv=(*argv, target), path=name, line=line, source=f"target {target}",
                            label=argv[0],
                        )
                    )  # fmt: skip
                    break
