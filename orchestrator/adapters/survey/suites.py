"""Where the tests of a project lie, and where a new one would by the same habits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.adapters.survey.languages import ECMASCRIPT, is_runnable_test
from orchestrator.core.facts import SourceFile

_SUFFIX = re.compile(r"(\.d)?\.\w+$")
# `test_parser01.py`, `parser.spec.ts` and `ParserTest.java` are named after `parser`.
_AFFIXES = re.compile(
    r"^tests?[_-]|([_-]?tests?|[._-](test|spec|cy|e2e)|[_-]?spec|IT)?[._-]?\d*$", re.IGNORECASE
)


def family(language: str) -> str:
    return "JavaScript" if language in ECMASCRIPT else language


class Suite:
    """The tests of one family of languages: their words, what they are named after, and one example by directory."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._subjects: set[str] = set()
        self._examples: dict[str, SourceFile] = {}
        self._folders: Counter[str] = Counter()
        self._tests = 0
        self._suffixed = 0

    def __bool__(self) -> bool:
        return self._tests > 0

    def add(self, test: SourceFile, words: Iterable[str]) -> None:
        self._tests += 1
        self._words.update(words)
        folder, _, name = test.path.rpartition("/")
        self._subjects.add(_AFFIXES.sub("", _SUFFIX.sub("", name)).lower())
        if not is_runnable_test(test.path):
            return
        if name not in ("tests.py", "test.py"):
            self._folders[folder] += 1
            self._suffixed += name.endswith("_test.py")
        parts = test.path.split("/")[:-1]
        for count in range(len(parts) + 1):
            above = "/".join(parts[:count])
            known = self._examples.get(above)
            if known is None or _example(test) < _example(known):
                self._examples[above] = test

    def names_any(self, names: Iterable[str]) -> bool:
        return any(name in self._words for name in names)

    def is_named_after(self, path: str) -> bool:
        """Whether a test has the name of this module, wherever it lies."""
        stem = _SUFFIX.sub("", path.rpartition("/")[2]).lower()
        return len(stem) > 3 and stem in self._subjects

    def nearest(self, path: str) -> str:
        """An existing test to follow: one in the deepest directory that it shares with `path`."""
        while path:
            path = path.rpartition("/")[0]
            if path in self._examples:
                return self._examples[path].path
        return ""

    def home(self, package: str) -> str | None:
        """The directory with most tests inside a package; None when it has none."""
        inside = [folder for folder in self._folders if _below(f"{folder}/", package)]
        return min(inside, key=lambda folder: (-self._folders[folder], folder), default=None)

    @property
    def suffixed(self) -> bool:
        """Whether Python tests here are called `parser_test.py`."""
        return 0 < self._suffixed == sum(self._folders.values())


def _example(test: SourceFile) -> tuple[bool, int, str]:
    # Short, but not a stub.
    return test.lines < 10, test.lines, test.path


class Places:
    """Gives the path of a test that is not there yet."""

    def __init__(self, packages: Sequence[str], everything: set[str], suites: Mapping[str, Suite]) -> None:
        self._packages = sorted(packages, key=len, reverse=True)
        self._everything = everything
        self._suites = suites
        self._homes: dict[tuple[str, str], str | None] = {}

    def of(self, file: SourceFile) -> tuple[str | None, str]:
        """The path of a test of `file`, and an existing test to follow; None when there is no habit to go by."""
        folder, _, name = file.path.rpartition("/")
        stem = _SUFFIX.sub("", name)
        package = next((package for package in self._packages if _below(file.path, package)), "")
        suite = self._suites.get(family(file.language), Suite())
        near = suite.nearest(file.path)
        match file.language:
            case "Python":
                home = self._home(suite, "Python", package)
                stem = folder.rpartition("/")[2] if stem == "__init__" else stem.lstrip("_")
                pattern = "{}_test.py" if suite.suffixed else "test_{}.py"
                where = _join(package, "tests") if home is None else home
                return self._free(where, pattern, stem, folder), near
            case "Go":
                return self._free(folder, "{}_test.go", stem, folder), near
            case "Rust":
                return file.path, ""
            case "Java" | "Kotlin" | "C#" | "Ruby" | "PHP":
                return _mirrored(file, stem), near
        return self._ecmascript(file, folder, stem, near, package), near

    def _home(self, suite: Suite, of: str, package: str) -> str | None:
        key = (of, package)
        if key not in self._homes:
            self._homes[key] = suite.home(package)
        return self._homes[key]

    def _ecmascript(self, file: SourceFile, folder: str, stem: str, near: str, package: str) -> str | None:
        if not _below(near, package):
            # A test of another package shows the style, but not the place.
            near = ""
        suffix = "ts" if file.language == "TypeScript" else "js"
        mark = "test"
        if match := re.search(r"\.(test|spec)\.([cm]?[jt]s)x?$", near):
            mark, suffix = match.group(1), match.group(2)
        if file.path.endswith(("tsx", "jsx")):
            suffix += "x"
        pattern = f"{{}}.{mark}.{suffix}"
        stem = folder.rpartition("/")[2] if stem == "index" and folder else stem
        if near and not re.search(r"(^|/)(tests?|specs?|__tests__)/", near):
            return self._free(folder, pattern, stem, folder)
        if beside := self._beside(near, package):
            return self._free(_join(folder, beside), pattern, stem, folder)
        home = near.rpartition("/")[0] if near else _join(package, "test")
        if near and not re.search(r"\.(test|spec)\.", near):
            pattern = "{}.test." + near.rpartition(".")[2]
        return self._free(home, pattern, stem, folder)

    def _beside(self, near: str, package: str) -> str:
        """The name of the directory for tests in that of the modules, where the test `near` lies in such a one."""
        parts = near.split("/")
        if len(parts) < 2 or not re.fullmatch(r"tests?|specs?|__tests__", parts[-2]):
            return ""
        parent = "/".join(parts[:-2])
        subject = re.sub(r"[-_.](tests?|spec)$", "", _SUFFIX.sub("", parts[-1]))
        ends = ("ts", "tsx", "js", "jsx", "mts", "mjs", "cts", "cjs", "vue", "svelte")
        if parent == package or all(
            _join(parent, f"{subject}.{end}") not in self._everything for end in ends
        ):
            return ""
        return parts[-2]

    def _free(self, home: str, pattern: str, stem: str, folder: str) -> str | None:
        parent = folder.rpartition("/")[2]
        for name in (stem, f"{parent}_{stem}"):
            path = _join(home, pattern.format(name))
            if path not in self._everything and name:
                return path
        return None


def _mirrored(file: SourceFile, stem: str) -> str | None:
    folder, _, name = file.path.rpartition("/")
    suffix = name.rpartition(".")[2]
    match file.language:
        case "Java" | "Kotlin" if "src/main/" in file.path:
            return f"{folder.replace('src/main/', 'src/test/', 1)}/{stem}Test.{suffix}"
        case "Ruby" if file.path.startswith(("lib/", "app/")):
            return f"spec/{folder.partition('/')[2]}/{stem}_spec.rb".replace("//", "/")
        case "PHP" if file.path.startswith(("src/", "app/")):
            return f"tests/{folder.partition('/')[2]}/{stem}Test.php".replace("//", "/")
    return None


def _below(path: str, directory: str) -> bool:
    return not directory or path.startswith(directory + "/")


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
