"""What a subtask says to the one who does it: exact, complete in itself, with the lines quoted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.core.facts import Command, Finding, FunctionSize, SourceFile, Untested
from orchestrator.core.words import counted

_HINTS: Mapping[str, str] = {
    "mutable-default": "Use None as the default and make a new value inside the function.",
    "default-evaluated-once": "Use None as the default and compute the value inside the function.",
    "missing-self": "Add `self`, or make it a `@staticmethod`, whichever its callers need.",
    "changed-while-iterated": "Build a new list, or iterate over a copy.",
    "E711": "Compare with None by `is` and `is not`.",
    "async-foreach": "Use `for ... of` with `await`, or `await Promise.all(items.map(...))`.",
    "index-as-condition": "Use `includes`, or compare with -1.",
    "defer-in-loop": "Move the body of the loop into a function of its own, or release the resource at its end.",
    "swallowed-error": "Catch only the errors that can be expected here; let the others through, or report them.",
    "broad-except": "Name the errors that can be expected here.",
    "empty-catch": "Handle the error, report it, or let it through; if nothing may be done, say why in a comment.",
    "broad-catch": "Catch the specific error, or report this one.",
    "ignored-error": "Test the error and return or report it.",
    "dropped-error": "Return the error to the caller, or report it where that is impossible.",
    "async-executor": "Await before making the promise, or use an async function instead of it.",
    "unclosed-file": "Open the file in a `with` block.",
    "S113": "Give the request a timeout.",
    "string-concatenation": "Collect the parts in a list and join them once.",
    "list-membership": "Keep a set beside the list for the test.",
    "list-front": "Use `collections.deque`, or go through the list by index.",
    "list-search": "Count or index once, before the loop.",
    "nested-loops": "Index the items once in a dictionary or a set, and look them up.",
    "compile-in-loop": "Compile it once, before the loop or at the top of the file.",
    "open-in-loop": "Open or read it once, before the loop.",
    "sort-in-loop": "Sort once, before the loop.",
    "call-per-item": "Ask for all items in one call, where the interface allows it.",
    "repeated-recursion": "Remember results (`functools.cache`) or count upwards in a loop.",
    "await-in-loop": "Start the calls together and await them all, if none needs the result of another.",
    "copy-per-item": "Change the accumulator in place, or use a loop.",
}


def place_note(commit: str) -> str:
    return f"Line numbers are those of commit {commit[:12]}; where they have moved, the quoted text shows the place."


def listed(findings: Sequence[Finding]) -> str:
    """One bullet per finding: line, function, fact, the line itself, and what usually mends it."""
    bullets: list[str] = []
    for finding in findings:
        inside = f", in `{finding.symbol}`" if finding.symbol and not finding.symbol.startswith("(") else ""
        text = f"- line {finding.line}{inside}: {finding.fact}."
        if finding.quote:
            text += f"\n      {finding.quote}"
        if hint := _HINTS.get(finding.rule):
            text += f"\n  {hint}"
        bullets.append(text)
    return "\n".join(bullets)


def tested(test_path: str, *, exists: bool, runner: str) -> str:
    where = f"to `{test_path}`" if exists else f"in the new file `{test_path}`"
    verb = "Add" if exists else "Write"
    return (
        f"{verb} {where} a test for each point that fails on the code as it was and passes on yours ({runner}). "
        "Leave the tests that are there as they are."
    )


def bugs(path: str, findings: Sequence[Finding], commit: str, proof: str) -> str:
    return "\n\n".join(
        part
        for part in (
            f"Fix these faults in `{path}`:",
            listed(findings),
            place_note(commit),
            "Keep names and behaviour otherwise: callers must not have to change. Where a point turns out to be "
            "meant, leave it and say so in a comment at the line.",
            proof,
        )
        if part
    )


def errors(path: str, findings: Sequence[Finding], commit: str, proof: str) -> str:
    return "\n\n".join(
        part
        for part in (
            f"Improve the error handling of `{path}` at these places:",
            listed(findings),
            place_note(commit),
            "What works today goes on working: errors that callers rely on being caught stay caught, by name. An "
            "error that is let through carries a message that says what failed and with what.",
            proof,
        )
        if part
    )


def performance(path: str, findings: Sequence[Finding], commit: str) -> str:
    return "\n\n".join(
        (
            f"Make this faster in `{path}`, with the same results in the same order:",
            listed(findings),
            place_note(commit),
            "Change only what the points name. Keep signatures, results and raised errors exactly; mind duplicates, "
            "empty input and values that cannot be hashed. Say in a comment what the cost is now.",
        )
    )


def tests(module: Untested, named: Sequence[tuple[str, int]], runner: str, near: str) -> str:
    points = "\n".join(f"- `{name}` (line {line})" for name, line in named)
    more = len(module.symbols) - len(named)
    rest = f"\nThe other {more} can wait." if more > 0 else ""
    style = (
        f"Follow the style of `{near}`."
        if near
        else "Keep to plain test functions or cases with telling names."
    )
    return "\n\n".join(
        (
            f"Write unit tests for `{module.path}` in the new file `{module.test_path}` ({runner}).",
            f"Cover these, the usual case and the edges (empty, wrong, too large, missing) of each:\n{points}{rest}",
            f"{style} Assert on results and on raised errors, so that a test fails when the code is broken; all pass "
            "on the code as it is. No network, no clock, no sleeping, no files outside a temporary directory.",
            f"Do not change `{module.path}`: where it seems wrong, test what it does and say so in a comment.",
        )
    )


def architecture(function: FunctionSize, file: SourceFile, commit: str, protected: str) -> str:
    return "\n\n".join(
        (
            f"Split `{function.name}` in `{function.path}` (lines {function.line} to {function.end_line}) into "
            "functions that each do one thing and have a name that says it.",
            f"It has a cyclomatic complexity of {function.complexity} over {function.lines} lines and "
            f"{counted(function.parameters, 'parameter')}. Aim at functions of complexity 8 or less: separate reading "
            "input, deciding, and producing output; replace nested conditions by early returns; replace chains of "
            "cases by a table where that reads better.",
            place_note(commit),
            f"Keep its name, signature, results, output and errors exactly as they are. Stay in `{function.path}` "
            f"({file.lines} lines). {protected}",
        )
    )


def runner_of(command: Command | None) -> str:
    """How tests are run, in a few words."""
    if command is None:
        return "no test command is declared"
    if "pytest" in command.argv:
        return "pytest"
    if "unittest" in command.argv:
        return "unittest"
    return f"run by `{' '.join(command.argv)}`" + (f", that is `{command.source}`" if command.source else "")
