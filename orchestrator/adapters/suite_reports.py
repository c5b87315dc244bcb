"""Readers of what test runners report: JUnit XML, JSON, JSON lines, plain lines; each yields single tests.

A report is written by code under test: it is size-capped, never trusted for paths outside, and a broken one
yields nothing, which counts as "no test ran".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.verdicts import Status

LARGEST_REPORT = 50_000_000
MESSAGE = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTest:
    """`name` is unique in its suite, and where possible what the runner takes to run just this test."""

    name: str
    file: str
    status: Status
    message: str = ""


Read = Callable[[Path, str, str], Iterator[OneTest]]
"""From the directory of the report, the command's output and the worktree to single tests."""


def nothing(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
    yield from ()


def _text(path: Path) -> str:
    try:
        if path.is_symlink() or path.stat().st_size > LARGEST_REPORT:
            return ""
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def json_lines(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
    """What our own unittest runner writes."""
    for line in _text(report / "report.jsonl").splitlines():
        try:
            entry = json.loads(line)
            yield OneTest(
                name=str(entry["id"]),
                file=str(entry["file"]),
                status=Status(entry["status"]),
                message=str(entry["message"])[-MESSAGE:],
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            continue


def _cases(text: str) -> Iterator[Any]:
    """The `testcase` elements. Entities are refused: the report may be anybody's."""
    if not text or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return
    from xml.etree import ElementTree

    # Control characters a failing test printed are not XML, whatever pytest makes of them.
    clean = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f]", "", text)
    try:
        yield from ElementTree.fromstring(clean).iter("testcase")
    except ElementTree.ParseError:
        return


def _status(case: Any) -> tuple[Status, str]:
    for tag in ("failure", "error"):
        if (found := case.find(tag)) is not None:
            text = found.text or found.get("message") or ""
            return Status.FAILED, text[-MESSAGE:]
    if (found := case.find("skipped")) is not None:
        return Status.SKIPPED, (found.get("message") or "")[-MESSAGE:]
    return Status.PASSED, ""


def junit(package: str) -> Read:
    """Pytest's report of the xunit1 family, to node ids relative to the worktree."""

    def read(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
        for case in _cases(_text(report / "report.xml")):
            status, message = _status(case)
            classname, name = case.get("classname") or "", case.get("name") or ""
            file = _relative(case.get("file") or "", worktree, package)
            if not classname:
                # A module that could not be collected is reported under its own name.
                file = file or _relative(name.replace(".", "/") + ".py", worktree, package)
                yield OneTest(name=file or name, file=file, status=status, message=message or "not collected")
                continue
            module = file.removesuffix(".py").replace("/", ".")
            inner = _after_module(classname, module)
            yield OneTest(
                name="::".join([file, *inner, name]) if file else f"{classname}.{name}",
                file=file,
                status=status,
                message=message,
            )

    return read


def _after_module(classname: str, module: str) -> list[str]:
    """The classes in a JUnit class name, which begins with the module as seen from pytest's root."""
    parts, names = classname.split("."), module.split(".")
    while names:
        if parts[: len(names)] == names:
            return parts[len(names) :]
        names.pop(0)
    return [part for part in parts if part[:1].isupper()]


def _relative(name: str, worktree: str, package: str) -> str:
    if not name:
        return ""
    for candidate in (name, f"{package}/{name}" if package else name):
        place = os.path.normpath(os.path.join(worktree, candidate))  # noqa: PTH118  # normpath takes text
        if place.startswith(worktree + os.sep) and Path(place).is_file():
            return os.path.relpath(place, worktree)
    return ""


def node_junit(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
    """Node's own runner: `file` is absolute, the class name says nothing."""
    for case in _cases(_text(report / "report.xml")):
        status, message = _status(case)
        file = _relative(case.get("file") or "", worktree, "")
        name = case.get("name") or ""
        yield OneTest(name=f"{file} > {name}" if file else name, file=file, status=status, message=message)


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path) or "null")
    except (ValueError, RecursionError):
        return None


def _items(value: Any) -> Iterator[dict[str, Any]]:
    """The objects of a list; nothing for anything else."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def jest(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
    """Jest's JSON, which vitest writes too."""
    document = _json(report / "report.json")
    for told in _items(document.get("testResults") if isinstance(document, dict) else None):
        file = _relative(str(told.get("name") or ""), worktree, "")
        tests = list(_items(told.get("assertionResults")))
        for test in tests:
            known = {"passed": Status.PASSED, "failed": Status.FAILED}
            messages = test.get("failureMessages")
            yield OneTest(
                name=f"{file} > {test.get('fullName') or test.get('title') or ''}",
                file=file,
                status=known.get(str(test.get("status")), Status.SKIPPED),
                message="\n".join(map(str, messages if isinstance(messages, list) else ()))[-MESSAGE:],
            )
        if not tests and told.get("status") == "failed":
            message = str(told.get("message") or "")
            yield OneTest(name=file, file=file, status=Status.FAILED, message=message[-MESSAGE:])


def mocha(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
    document = _json(report / "report.json")
    if not isinstance(document, dict):
        return
    for key, status in (
        ("passes", Status.PASSED), ("failures", Status.FAILED), ("pending", Status.SKIPPED),
    ):  # fmt: skip
        for test in _items(document.get(key)):
            file = _relative(str(test.get("file") or ""), worktree, "")
            error = test.get("err")
            error = error if isinstance(error, dict) else {}
            yield OneTest(
                name=f"{file} > {test.get('fullTitle')}",
                file=file,
                status=status,
                message=str(error.get("stack") or error.get("message") or "")[-MESSAGE:],
            )


def _go_events(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                yield event


def go(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
    said: dict[str, list[str]] = {}
    for event in _go_events(output):
        package, test = str(event.get("Package") or ""), event.get("Test")
        name = f"{package}::{test}" if test else package
        action = event.get("Action")
        if action == "output":
            said.setdefault(name, []).append(str(event.get("Output") or ""))
        elif action in ("pass", "fail", "skip") and (test or action == "fail"):
            status = {"pass": Status.PASSED, "fail": Status.FAILED, "skip": Status.SKIPPED}[str(action)]
            message = "".join(said.get(name, ()))
            if not test and any("FAIL\t" in line and "[" not in line for line in said.get(name, ())):
                # The package fails because a test of it did, and that was told already.
                continue
            yield OneTest(name=name, file="", status=status, message=message[-MESSAGE:])


def go_output(output: str) -> str:
    """The plain text of a `go test -json`, as `go test` prints it for what is no passing test."""
    kept = []
    for line in output.splitlines():
        if not line.startswith("{"):
            kept.append(line + "\n")
    for event in _go_events(output):
        if event.get("Action") == "output" and not str(event.get("Output")).startswith("=== "):
            kept.append(str(event.get("Output")))
    return "".join(kept)


def cargo(report: Path, output: str, worktree: str) -> Iterator[OneTest]:
    target = ""
    for line in output.splitlines():
        if found := re.match(r"\s+(?:Running (?:unittests )?(\S+)|Doc-tests (\S+))", line):
            target = found[1] or f"doc {found[2]}"
        elif found := re.match(r"test (.+?) \.\.\. (ok|FAILED|ignored)", line):
            status = {"ok": Status.PASSED, "FAILED": Status.FAILED, "ignored": Status.SKIPPED}[found[2]]
            yield OneTest(name=f"{target}::{found[1]}", file="", status=status)
