"""Faults that show in the code of JavaScript, TypeScript, Go, Rust, Java and their kin, without a parser.

Only patterns whose meaning does not depend on types or on another file are here, each with the line that shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.adapters.survey.brace_source import Masked, blocks, closing
from orchestrator.adapters.survey.languages import ECMASCRIPT
from orchestrator.core.facts import Finding, FindingKind

_CATCH = re.compile(r"\bcatch\s*(\([^()]*(?:\([^()]*\))?[^()]*\)\s*)?\{")
_LOOP = re.compile(
    r"\b(for|while)\b(?:\s+await)?\s*(\((?:[^(){}]|\((?:[^(){}]|\([^(){}]*\))*\))*\)|[^(){}\n;]*)\s*\{"
)
_GO_LOOP = re.compile(r"^[ \t]*for\b[^\n{]*\{[ \t]*$", re.MULTILINE)
_FUNCTION = re.compile(r"\bfunction\b[^{}]*\{|=>\s*\{")
_NOTE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b[:(\s].*")
_BROAD_CATCH = re.compile(
    r"\bcatch\s*\(\s*(?:final\s+)?(\\?(?:java\.lang\.)?(?:Throwable|Exception)|System\.Exception)\b\s*(\$?\w*)"
)


def smells(path: str, source: str, language: str, text: Masked) -> list[Finding]:
    """Every finding in one file, in the order of its lines. `text` is the source masked."""
    found = list(_catches(path, source, text, language))
    if language in ECMASCRIPT:
        found += _ecmascript(path, text)
    elif language == "Go":
        found += _go(path, text)
    elif language == "Rust":
        found += _rust(path, text)
    # Loops in loops: the innermost one, which comes last, says it best.
    once = {(finding.line, finding.rule): finding for finding in found}
    return [once[key] for key in sorted(once)]


def notes(path: str, comments: tuple[tuple[int, str], ...]) -> Iterator[Finding]:
    """TODO, FIXME and their kin, one per line of a comment."""
    for first, comment in comments:
        for offset, line in enumerate(comment.split("\n")):
            if match := _NOTE.search(line):
                told = " ".join(match.group().rstrip("*/ -").split())
                if len(told) > len(match.group(1)) + 3:
                    yield Finding(
                        kind=FindingKind.NOTE,
                        rule=match.group(1).lower(),
                        path=path,
                        line=first + offset,
                        fact=told[:160],
                        weight=2,
                    )


_IMPORT = re.compile(r"""(?:\bfrom|\bimport|\brequire\(|\bimport\(|\bmock\()\s*["']([^"'\n]+)["']""")


def imports(source: str) -> list[tuple[str, int]]:
    """What a JavaScript or TypeScript file imports or requires, as written, with the line."""
    return [(match.group(1), source.count("\n", 0, match.start()) + 1) for match in _IMPORT.finditer(source)]


def _finding(
    path: str, text: Masked, kind: FindingKind, rule: str, place: int, fact: str, weight: int
) -> Finding:
    return Finding(kind=kind, rule=rule, path=path, line=text.line_of(place), fact=fact, weight=weight)


def _catches(path: str, source: str, text: Masked, language: str) -> Iterator[Finding]:
    if language in ("Go", "Rust"):
        return
    for match, begin, end in blocks(text.code, _CATCH):
        if not text.code[begin:end].strip(" \t\r\n;"):
            explained = source[begin:end].strip() != ""
            yield _finding(
                path, text, FindingKind.ERROR_HANDLING, "empty-catch", match.start(),
                "the `catch` block is empty: the error disappears"
                + (" (a comment says why)" if explained else ""), 4 if explained else 8,
            )  # fmt: skip
        elif broad := _BROAD_CATCH.match(text.code, match.start()):
            body = text.code[begin:end]
            used = broad.group(2) and re.search(rf"(?<![\w$]){re.escape(broad.group(2))}(?!\w)", body)
            if "throw" not in body and not used and not re.search(r"\blog|\bLog|print|report", body):
                yield _finding(
                    path, text, FindingKind.ERROR_HANDLING, "broad-catch", match.start(),
                    f"`catch ({broad.group(1)})` neither reports nor throws the error", 6,
                )  # fmt: skip


_ECMASCRIPT_RULES: tuple[tuple[str, FindingKind, str, str, int], ...] = (
    (
        r"\.forEach\(\s*async\b",
        FindingKind.BUG,
        "async-foreach",
        "`forEach` does not wait for its `async` callback: errors and order are lost",
        8,
    ),
    (
        r"[!=]==?\s*NaN\b|\bNaN\s*[!=]==?",
        FindingKind.BUG,
        "nan-comparison",
        "a comparison with `NaN` has the same answer for every value",
        9,
    ),
    (
        r"\bnew\s+Promise\(\s*async\b",
        FindingKind.ERROR_HANDLING,
        "async-executor",
        "an error in an `async` promise executor is never reported: the promise stays pending",
        7,
    ),
    (
        r"\.catch\(\s*(?:\(\s*\w*\s*\)|\w+)\s*=>\s*\{\s*\}\s*\)|\.catch\(\s*function\s*\(\s*\w*\s*\)\s*\{\s*\}\s*\)",
        FindingKind.ERROR_HANDLING,
        "empty-catch",
        "the empty `.catch` callback makes the error disappear",
        8,
    ),
    (
        r"\bif\s*\(\s*!?[\w.]+\.indexOf\([^()]*\)\s*\)",
        FindingKind.BUG,
        "index-as-condition",
        "`indexOf` is -1, which is true, when nothing is found, and 0, which is false, at the start",
        9,
    ),
    (
        r"\b(?:if|while)\s*\(\s*[\w.]+\s*=\s*(?:[\w.]+|\"[^\"\n]*\"|'[^'\n]*')\s*\)",
        FindingKind.BUG,
        "assignment-as-condition",
        "the condition assigns with `=` instead of comparing",
        9,
    ),
    (
        r"[!=]==?\s*\[\s*\]|[!=]==?\s*\{\s*\}\s*[)&|;]",
        FindingKind.BUG,
        "literal-comparison",
        "a comparison with a new array or object has the same answer for every value",
        8,
    ),
    (
        r"\.reduce\(\s*\(\s*(\w+)[^()]*\)\s*=>\s*(?:\(\s*\{\s*\.\.\.\1\b|\[\s*\.\.\.\1\b)",
        FindingKind.PERFORMANCE,
        "copy-per-item",
        "`reduce` copies the whole accumulator for every item: quadratic",
        6,
    ),
    (
        r"JSON\.parse\(\s*JSON\.stringify\(",
        FindingKind.PERFORMANCE,
        "copy-by-json",
        "a deep copy through JSON text drops dates and undefined values and is slow; `structuredClone` is neither",
        3,
    ),
)
_ECMASCRIPT_PATTERNS = tuple((re.compile(rule[0]), *rule[1:]) for rule in _ECMASCRIPT_RULES)


def _ecmascript(path: str, text: Masked) -> Iterator[Finding]:
    for pattern, kind, rule, fact, weight in _ECMASCRIPT_PATTERNS:
        for match in pattern.finditer(text.code):
            yield _finding(path, text, kind, rule, match.start(), fact, weight)
    for match, begin, end in blocks(text.code, _LOOP):
        body = _without_functions(text.code[begin:end])
        line = text.line_of(match.start())
        # `break` or `return` after an await: the loop waits on purpose, until something holds.
        one_by_one = match.group(1) == "for" and " await" not in match.group()[:12]
        waits = re.search(r"\bawait\b", body)
        if one_by_one and waits and not re.search(r"\b(break|return)\b", body):
            yield _finding(
                    path, text, FindingKind.PERFORMANCE, "await-in-loop", begin + waits.start(),
                    f"each round of the loop at line {line} waits for the one before: the calls run one by one", 5,
                )  # fmt: skip
        if made := re.search(r"\bnew\s+RegExp\(", body):
            yield _finding(
                path, text, FindingKind.PERFORMANCE, "compile-in-loop", begin + made.start(),
                f"a regular expression is built in each round of the loop at line {line}", 3,
            )  # fmt: skip


def _without_functions(body: str) -> str:
    """The body with the insides of functions blanked: what they do is not done by each round."""
    for match in _FUNCTION.finditer(body):
        end = closing(body, match.end() - 1)
        body = body[: match.end()] + re.sub(r"[^\n]", " ", body[match.end() : end]) + body[end:]
    return body


_GO_RULES: tuple[tuple[str, FindingKind, str, str, int], ...] = (
    (
        r"\bif\s+(?:[^{\n;]*;\s*)?err\s*!=\s*nil\s*\{\s*\}",
        FindingKind.ERROR_HANDLING,
        "ignored-error",
        "the error is tested and then ignored",
        8,
    ),
    (
        r"\bif\s+(?:[^{\n;]*;\s*)?err\s*!=\s*nil\s*\{\s*return(?:\s+(?:nil|false|true|0|\"\"))?(?:\s*,\s*nil)?\s*\}",
        FindingKind.ERROR_HANDLING,
        "dropped-error",
        "an error leads to a plain return that does not tell the caller of it",
        6,
    ),
    (
        r"(?m)^[ \t]*(?:_\s*(?:,\s*_\s*)*|\w+\s*,\s*_\s*):?=\s*"
        r"(?:json|xml|yaml|strconv|ioutil|io|os|http|url|hex|base64)"
        r"\.(?:Unmarshal|Marshal\w*|Atoi|Parse\w*|ReadAll|ReadFile|WriteFile|Open|Create|Mkdir\w*|Get|Post|NewRequest"
        # A literal that is right stays right: only computed arguments can fail.
        r"|Decode\w*)\((?!\s*[\"`][^\"`]*[\"`]\s*\))",
        FindingKind.ERROR_HANDLING,
        "ignored-error",
        "the error of this call is assigned to `_`",
        7,
    ),
)
_GO_PATTERNS = tuple((re.compile(rule[0]), *rule[1:]) for rule in _GO_RULES)


def _go(path: str, text: Masked) -> Iterator[Finding]:
    for pattern, kind, rule, fact, weight in _GO_PATTERNS:
        for match in pattern.finditer(text.code):
            start = match.start() + len(match.group()) - len(match.group().lstrip())
            yield _finding(path, text, kind, rule, start, fact, weight)
    for match, begin, end in blocks(text.code, _GO_LOOP):
        body = re.sub(
            r"\bfunc\s*\([^)]*\)[^{\n]*\{.*?\n\s*\}",
            lambda inner: re.sub(r"[^\n]", " ", inner.group()),
            text.code[begin:end],
            flags=re.DOTALL,
        )
        line = text.line_of(match.start() + len(match.group()) - len(match.group().lstrip()))
        if waits := re.search(r"(?m)^[ \t]*(defer\b)", body):
            yield _finding(
                path, text, FindingKind.BUG, "defer-in-loop", begin + waits.start(1),
                f"`defer` in the loop at line {line} runs only when the function returns: resources pile up", 8,
            )  # fmt: skip
        if made := re.search(r"\bregexp\.(?:Must)?Compile\(", body):
            yield _finding(
                path, text, FindingKind.PERFORMANCE, "compile-in-loop", begin + made.start(),
                f"a regular expression is compiled in each round of the loop at line {line}",
                6 if text.code[begin + made.end()] in "`\"" else 2,
            )  # fmt: skip
        if grows := re.search(r"(?m)^[ \t]*(\w+\s*\+=\s*\")", body):
            yield _finding(
                path, text, FindingKind.PERFORMANCE, "string-concatenation", begin + grows.start(1),
                f"a string grows by `+=` in the loop at line {line}: each round copies it", 4,
            )  # fmt: skip


def _rust(path: str, text: Masked) -> Iterator[Finding]:
    if path.endswith(("build.rs", "main.rs")):
        return
    tests = text.code.find("#[cfg(test)]")
    for match in re.finditer(r"\.unwrap\(\)|\bpanic!\(|\btodo!\(|\bunimplemented!\(", text.code):
        if 0 <= tests < match.start():
            return
        what = match.group().strip(".(")
        unfinished = what in ("todo!", "unimplemented!")
        yield _finding(
            path, text, FindingKind.ERROR_HANDLING, "panic", match.start(),
            f"`{what.removesuffix(')').removesuffix('(')}` ends the program here "
            + ("when this is reached" if unfinished or what == "panic!" else "instead of returning an error"),
            6 if unfinished else 3,
        )  # fmt: skip
