"""Measures files in a process of its own: `python -m orchestrator.adapters.survey.worker PACK SECONDS`.

Reads one `path<TAB>language<TAB>test<TAB>offset<TAB>size` per line from standard input, each a file in PACK, and
writes one JSON document per file. A file that takes longer than SECONDS, or that a parser cannot stand, is reported
by name and costs only itself.
"""

from __future__ import annotations

import gc
import json
import re
import signal
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from orchestrator.adapters.survey import brace_smells, python_smells, python_source
from orchestrator.adapters.survey.brace_source import Masked, ends_there, mask
from orchestrator.adapters.survey.languages import CODE, ECMASCRIPT, GENERATED_MARK, MEASURED
from orchestrator.adapters.survey.python_source import lines_of
from orchestrator.adapters.survey.python_tree import Tree
from orchestrator.core.facts import Finding, FunctionSize

_NOTED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_WORD = re.compile(r"[A-Za-z_$][\w$]{2,}")
# A library that was copied in begins with a banner and is long.
_BANNER = re.compile(r"\A\s*(/\*!|/\*\*?\s*\n?\s*\*?\s*@(license|preserve))")
_COPIED_LINES = 400
# What lizard takes for a class where it has lost its way.
_ODD_PREFIX = re.compile(r"^[^\w(]+(::|\.)")
# What follows the name of a function that is called with another one, and never that of one being defined.
_HANDS_OVER = r"\s*(<[^<>]*>)?\(\s*(async\b|\(|function\b|[\w$]+\s*=>|[\"'`])"
_NO_SYMBOLS = ("main", "init", "anonymous", "constructor")


class _TooSlow(Exception):
    pass


def main() -> None:
    pack, limit = Path(sys.argv[1]), float(sys.argv[2])
    sys.setrecursionlimit(5000)

    def interrupt(number: int, frame: object) -> None:
        raise _TooSlow

    signal.signal(signal.SIGALRM, interrupt)
    # Trees hold no cycles: looking for some takes a fifth of the time.
    gc.set_threshold(200_000, 20, 20)
    with pack.open("rb") as contents:
        for line in sys.stdin:
            path, language, test, offset, size = line.rstrip("\n").split("\t")
            contents.seek(int(offset))
            source = contents.read(int(size)).decode("utf-8", "replace")
            signal.setitimer(signal.ITIMER_REAL, limit)
            try:
                document = measure(path, source, language, test == "1")
            except _TooSlow:
                document = {"path": path, "failed": f"took longer than {limit:g} s"}
            except (RecursionError, MemoryError) as error:
                document = {"path": path, "failed": type(error).__name__}
            except Exception as error:
                # lizard's parsers raise whatever they come across; the file is named in the survey.
                document = {"path": path, "failed": f"{type(error).__name__}: {error}"[:200]}
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            sys.stdout.write(json.dumps(document) + "\n")


def measure(path: str, source: str, language: str, test: bool) -> dict[str, Any]:
    """Everything about one file that its own text tells, as plain data."""
    head = source[:2000]
    lines = source.count("\n") + (not source.endswith("\n"))
    document: dict[str, Any] = {"path": path, "generated": bool(GENERATED_MARK.search(head))}
    if language not in CODE:
        return document
    if _BANNER.search(head) and lines > _COPIED_LINES:
        document["generated"] = True
    if test:
        # Of a test only what it reaches is asked: no finding in it would become a subtask.
        document["words"] = sorted(set(_WORD.findall(source)))
        document["imports"] = _imports(source, language)
        return document
    if document["generated"]:
        return document
    findings: list[Finding] = []
    functions: list[FunctionSize] = []
    if language == "Python":
        module = python_source.parse(source)
        if module is None:
            return document | {"unparsed": True}
        tree = Tree(module)
        described = python_source.describe(path, tree)
        functions = described.functions
        findings += python_smells.smells(path, source, tree)
        if _NOTED.search(source):
            findings += brace_smells.notes(path, mask(source, language).comments)
        document |= {"symbols": described.symbols, "imports": described.imports}
    else:
        masked = mask(source, language)
        findings += brace_smells.notes(path, masked.comments)
        if language in MEASURED:
            functions = _measure(path, source, language, masked)
            findings += brace_smells.smells(path, source, language, masked)
            document["symbols"] = _symbols(functions)
            document["imports"] = _imports(source, language)
    document["functions"] = [_plain(function) for function in functions]
    document["findings"] = [_plain(finding) for finding in findings]
    return document


def _imports(source: str, language: str) -> list[tuple[str, int]]:
    if language == "Python":
        return python_source.imports(source)
    return brace_smells.imports(source) if language in ECMASCRIPT else []


def _measure(path: str, source: str, language: str, masked: Masked) -> list[FunctionSize]:
    import lizard

    told = lizard.analyze_file.analyze_source_code(path, source)
    lines = lines_of(masked.code)
    return [
        FunctionSize(
            path=path,
            name=_name(function.name, lines[function.start_line - 1], language),
            line=function.start_line,
            end_line=max(function.start_line, function.end_line),
            complexity=function.cyclomatic_complexity,
            parameters=function.parameter_count,
        )
        for function in told.function_list
        if _is_there(function.name, function.start_line, lines)
        and ends_there(function.start_line, function.end_line, language, lines, masked)
    ]


def _name(name: str, line: str, language: str) -> str:
    """The function's own name; a callback has none, but lizard gives it that of what it is handed to."""
    last = re.split(r"::|\.", name)[-1].strip()
    if language in ECMASCRIPT and re.search(rf"(?<![\w$]){re.escape(last)}{_HANDS_OVER}", line):
        return "(anonymous)"
    return _ODD_PREFIX.sub("", name)


def _is_there(name: str, line: int, lines: list[str]) -> bool:
    """Whether the line really holds the function: without a parser's grammar lizard can be off."""
    last = re.split(r"::|\.", name)[-1].strip()
    return 1 <= line <= len(lines) and (not re.fullmatch(r"[\w$]+", last) or last in lines[line - 1])


def _symbols(functions: list[FunctionSize]) -> list[tuple[str, int]]:
    """Named functions that others could call, each once."""
    seen: dict[str, int] = {}
    for function in functions:
        name = re.split(r"::|\.", function.name)[-1].strip()
        if re.fullmatch(r"[A-Za-z_$][\w$]*", name) and not name.startswith("_") and name not in _NO_SYMBOLS:
            seen.setdefault(name, function.line)
    return list(seen.items())


def _plain(value: Finding | FunctionSize) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


if __name__ == "__main__":
    main()
