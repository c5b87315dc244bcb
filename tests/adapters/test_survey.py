"""The survey of real repositories: facts that are true at a commit, whatever the checkout looks like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.adapters.survey import SurveyFailed, survey
from orchestrator.adapters.survey.languages import is_runnable_test, is_test, language_of
from orchestrator.adapters.survey.measuring import measure
from orchestrator.adapters.survey.snapshot import Snapshot
from orchestrator.adapters.survey.untested import untested
from orchestrator.core.facts import CommandKind, FindingKind, Package, SourceFile, Survey
from orchestrator.core.serial import decode, encode
from tests.adapters.repositories import belongings, commit_all, git, make_repository, make_untidy, write

SHOP = '''\
"""A small shop."""

import json
import os
import re


def total(lines, fees=[]):
    fees.append(0)
    return sum(lines) + sum(fees)


def load(path):
    try:
        return json.load(open(path))
    except Exception:
        return {}


def names(items):
    seen = []
    for item in items:
        if item.name not in seen:
            seen.append(item.name)
    return seen


def drop_empty(rows):
    for row in rows:
        if not row:
            rows.remove(row)
    return rows


def price(item):  # TODO: mind the currency of the item
    return undefined_rate * item.price
'''
APPLICATION = {
    "shop/__init__.py": "",
    "shop/core.py": SHOP,
    "shop/untested.py": "def decide(a, b):\n    if a and b:\n        return 1\n"
    "    if a or b:\n        return 2\n    return 3\n",
    "tests/__init__.py": "",
    "tests/test_core.py": "import unittest\n\nfrom shop import core\n\n\nclass Totals(unittest.TestCase):\n"
    "    def test_sum(self):\n        self.assertEqual(core.total([1]), 1)\n",
    "README.md": "# Shop\n",
}


def find(root: Path, tmp_path: Path, **options: object) -> Survey:
    cache = tmp_path / "cache"
    cache.mkdir(exist_ok=True)
    return asyncio.run(survey(root, cache=cache, **options))  # type: ignore[arg-type]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    make_repository(root, APPLICATION)
    return root


def test_every_fact_is_at_the_line_it_cites(shop: Path, tmp_path: Path):
    found = find(shop, tmp_path)
    places = {(finding.rule, finding.line, finding.symbol) for finding in found.findings}
    assert places >= {
        ("mutable-default", 8, "total"),
        ("swallowed-error", 16, "load"),
        ("list-membership", 23, "names"),
        ("changed-while-iterated", 31, "drop_empty"),
        ("F821", 36, "price"),
        ("F401", 4, ""),
        ("F401", 5, ""),
        ("todo", 35, "price"),
    }
    lines = SHOP.splitlines()
    for finding in found.findings:
        assert finding.path == "shop/core.py"
        if finding.quote:
            assert lines[finding.line - 1].strip() == finding.quote
    assert {finding.fixable_by for finding in found.findings if finding.rule == "F401"} == {"ruff-fix"}
    assert [(module.path, module.test_path, module.near) for module in found.untested] == [
        ("shop/untested.py", "tests/test_untested.py", "tests/test_core.py")
    ]
    assert found.tests_of["shop/core.py"] == ("tests/test_core.py",)
    [test] = found.commands_of(CommandKind.TEST)
    assert test.argv == ("python", "-m", "unittest", "discover", "-s", "tests", "-t", ".")
    assert test.where == "tests/test_core.py:1"
    assert [function.name for function in found.functions] == ["decide"]


def test_a_survey_reads_the_commit_and_not_the_checkout_and_changes_neither(shop: Path, tmp_path: Path):
    clean = find(shop, tmp_path)
    write(shop, {"app.py": "ONE = 1\n"})
    commit_all(shop, "second")
    make_untidy(shop)
    write(shop, {"shop/core.py": "this is not ( Python\n", "shop/new.py": "import os\n"})
    (shop / "shop" / "untested.py").unlink()
    before = belongings(shop)
    dirty = find(shop, tmp_path)
    assert belongings(shop) == before
    assert dirty.findings == clean.findings
    assert dirty.untested == clean.untested
    assert {file.path for file in dirty.files} == {file.path for file in clean.files} | {"app.py"}
    assert find(shop, tmp_path, commit="HEAD~1").digest == clean.digest


def test_the_same_commit_gives_the_same_survey_from_the_cache_or_without_it(shop: Path, tmp_path: Path):
    first = find(shop, tmp_path)
    [kept] = (tmp_path / "cache" / "surveys").glob("*.json")
    plain = json.loads(kept.read_text())
    kept.write_text(json.dumps(plain | {"notes": ["from the cache"]}))
    assert find(shop, tmp_path).notes == ("from the cache",)
    kept.write_text("{ broken")
    assert find(shop, tmp_path) == first
    assert decode(Survey, json.loads(json.dumps(encode(first)))) == first
    # Nothing but surveys stays behind.
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["surveys"]


def test_what_is_not_the_projects_own_text_is_counted_and_left_alone(tmp_path: Path):
    root = tmp_path / "odd"
    make_repository(
        root,
        {
            "app.py": "import os\n",
            "logo.png": b"\x89PNG\x00",
            "data.py": b"\x00\x01\x02",
            "vendor/copied.py": "import os\n",
            "node_modules/left/index.js": "module.exports = 1\n",
            "huge.py": "x = 1\n" * 100_000,
            "big.csv.py": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "static/lib.min.js": "var a=1\n",
            "{{cookiecutter.name}}/main.py": "import os\n",
            "two\nlines.py": "import os\n",
            "made.py": "# Generated by a tool. DO NOT EDIT.\nimport os\n",
            ".gitignore": "ignored.py\n",
        },
    )
    write(root, {"ignored.py": "import os\n"})
    (root / "link.py").symlink_to("/etc/passwd")
    commit_all(root, "a link")
    found = find(root, tmp_path)
    assert {file.path for file in found.files} == {"app.py", "made.py"}
    assert [file.path for file in found.files if file.generated] == ["made.py"]
    assert {finding.path for finding in found.findings} == {"app.py"}
    assert {skipped.reason: skipped.files for skipped in found.skipped} == {
        "a link or a submodule": 1,
        "binary": 2,
        "its name is a template or holds control characters": 2,
        "kept in Git LFS": 1,
        "larger than 512 KB": 1,
        "made by a machine": 1,
        "vendored": 2,
    }


def test_nothing_that_a_repository_configures_is_run(tmp_path: Path):
    root = tmp_path / "hostile"
    mark = tmp_path / "ran"
    make_repository(root, {"app.py": "import os\n", ".gitattributes": "*.py filter=evil diff=evil\n"})
    script = root / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    script.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "filter.evil.smudge",
        "filter.evil.clean",
        "diff.evil.textconv",
        "core.pager",
    ):
        git(root, "config", key, str(script))
    write(
        root,
        {
            "setup.py": f"open({str(mark)!r}, 'w')\n",
            "conftest.py": f"open({str(mark)!r}, 'w')\n",
            "package.json": json.dumps({"scripts": {"test": f"touch {mark}", "preinstall": f"touch {mark}"}}),
            "ruff.toml": "extend = '/nowhere/ruff.toml'\n",
        },
    )
    git(root, "-c", "core.fsmonitor=false", "-c", "filter.evil.clean=cat", "add", "-A")
    git(root, "-c", "core.fsmonitor=false", "commit", "-q", "-m", "more")
    mark.unlink(missing_ok=True)
    find(root, tmp_path)
    assert not mark.exists()


def test_a_path_narrows_the_facts_but_the_commands_of_the_root_stay(tmp_path: Path):
    root = tmp_path / "mono"
    make_repository(
        root,
        {
            "package.json": json.dumps(
                {"workspaces": ["packages/*"], "scripts": {"lint": "eslint ."}}, indent=2
            ),
            "packages/a/package.json": json.dumps({"name": "a", "scripts": {"test": "vitest run"}}, indent=2),
            "packages/a/index.js": "try { a() } catch (e) {}\n",
            "packages/b/index.js": "try { b() } catch (e) {}\n",
        },
    )
    found = find(root, tmp_path, paths=("packages/a",))
    assert {finding.path for finding in found.findings} == {"packages/a/index.js"}
    assert [command.name for command in found.commands] == ["lint", "test:packages/a"]
    everything = find(root, tmp_path)
    assert len(everything.findings) == 2
    assert everything.digest != found.digest


def test_a_path_that_matches_nothing_is_a_mistake_and_no_empty_survey(shop: Path, tmp_path: Path):
    with pytest.raises(SurveyFailed, match=r"no file at [0-9a-f]{12} matches shpo/\*\*, test:"):
        find(shop, tmp_path, paths=("shpo/**", "test"))
    assert find(shop, tmp_path, paths=("shpo/**", "tests")).paths == ("shpo/**", "tests")


def test_files_that_no_parser_can_stand_cost_only_themselves(tmp_path: Path):
    root = tmp_path / "deep"
    make_repository(
        root,
        {
            "deep.py": "x = " + "(" * 5000 + ")" * 5000 + "\n",
            "deep.js": "x = " + "[" * 20000 + "\n" + "function f() {" * 60,
            "late.py": "def f(a):\n    print(unknown)\n",
            "latin.py": b"# caf\xe9\nimport os\n",
            "empty.py": "",
            "ends.py": "import os",
            "feed.py": "x = 1\n\x0cimport os\n",
        },
    )
    found = find(root, tmp_path)
    at = {(finding.path, finding.rule, finding.line) for finding in found.findings}
    assert at >= {("late.py", "F821", 2), ("ends.py", "F401", 1), ("feed.py", "F401", 2)}
    assert found.file("empty.py") is not None


def test_a_file_that_takes_too_long_is_named_and_the_next_is_measured(tmp_path: Path):
    sources = {"deep.js": "function f() {" * 3000, "late.py": "def f():\n    return 1\n"}
    pack = tmp_path / "pack"
    pack.write_text("".join(sources.values()))
    sizes = [len(text) for text in sources.values()]
    snapshot = Snapshot(
        pack=pack, tree=tmp_path, places={"deep.js": (0, sizes[0]), "late.py": (sizes[0], sizes[1])}
    )
    files = [
        SourceFile(path="deep.js", language="JavaScript", lines=1, size_bytes=sizes[0]),
        SourceFile(path="late.py", language="Python", lines=2, size_bytes=sizes[1]),
    ]
    documents = asyncio.run(measure(snapshot, files, file_seconds=0.2))
    assert documents["deep.js"] == {"path": "deep.js", "failed": "took longer than 0.2 s"}
    assert [function["name"] for function in documents["late.py"]["functions"]] == ["f"]


def test_a_syntax_error_is_one_finding_and_a_tree_of_another_python_is_none(tmp_path: Path):
    one = tmp_path / "one"
    make_repository(one, {"bad.py": "def f(:\n    return (\n", **{f"m{n}.py": "x = 1\n" for n in range(4)}})
    [finding] = [f for f in find(one, tmp_path).findings if f.kind is FindingKind.BUG]
    assert (finding.rule, finding.path, finding.line, finding.weight) == ("syntax-error", "bad.py", 1, 10)
    old = tmp_path / "old"
    make_repository(old, {f"m{n}.py": "print 'two'\n" for n in range(6)})
    told = find(old, tmp_path)
    assert told.findings == ()
    assert told.notes == ("6 of 6 Python files are not Python 3: their syntax errors are not listed",)


def test_newer_python_than_ours_is_no_syntax_error(tmp_path: Path):
    root = tmp_path / "new"
    source = 'type Pair[T] = tuple[T, T]\n\n\ndef show(d: dict[str, str]) -> str:\n    return f"{d["a"]}"\n'
    make_repository(root, {"new.py": source})
    assert [finding.rule for finding in find(root, tmp_path).findings] == []


@pytest.mark.parametrize(
    ("commit", "said"),
    [("HEAD", "has no commit yet: commit your files first"), ("nope", "has no commit 'nope'")],
)
def test_a_commit_that_is_not_there_is_a_clear_line(tmp_path: Path, commit: str, said: str):
    root = tmp_path / "none"
    root.mkdir()
    git(root, "init", "-q")
    with pytest.raises(SurveyFailed, match=said):
        find(root, tmp_path, commit=commit)


def test_hot_spots_count_commits_and_not_sweeping_ones(tmp_path: Path):
    root = tmp_path / "hot"
    body = "def f(a):\n    if a:\n        return {}\n    return 0\n"
    make_repository(root, {f"m{n}.py": body.format(0) for n in range(60)})
    for number in range(1, 4):
        write(root, {"m7.py": body.format(number)})
        commit_all(root, f"change {number}")
    write(root, {f"m{n}.py": body.format(9) for n in range(60)})
    commit_all(root, "sweep")
    [spot] = find(root, tmp_path).hot_spots
    assert (spot.path, spot.commits, spot.complexity) == ("m7.py", 3, 2)


def test_a_test_that_requires_the_directory_tests_its_index(tmp_path: Path):
    root = tmp_path / "small"
    function = "function pad(a) {\n  return a\n}\nmodule.exports = pad\n"
    make_repository(
        root,
        {
            "package.json": json.dumps({"scripts": {"test": "node test/all.js"}}),
            "index.js": function,
            "left.js": function.replace("pad", "left"),
            "test/all.js": "const it = require('../')\n",
        },
    )
    assert [module.path for module in find(root, tmp_path).untested] == ["left.js"]


def _untested(*modules: str, tests: dict[str, list[str]], packages: Sequence[str] = ()) -> dict[str, str]:
    """The modules that want a test, each with its place; `tests` maps test files to the modules they import."""
    files = [
        SourceFile(path=path, language=language_of(path) or "", lines=20, size_bytes=400, test=is_test(path))
        for path in (*modules, *tests)
    ]
    documents: dict[str, dict[str, object]] = {path: {"symbols": [("decide_it", 1)]} for path in modules}
    for path, imports in tests.items():
        documents[path] = {"words": ["it"], "imports": [(name, 1) for name in imports]}
    found = [
        Package(name=name, directory=name, ecosystem="node", path=f"{name}/package.json") for name in packages
    ]
    return {module.path: module.test_path for module in untested(files, documents, found)}


@pytest.mark.parametrize("test", ["test.js", "tests.ts", "index-test.mjs", "test-index.js", "test/all.js"])
def test_a_test_by_the_names_that_runners_collect_reaches_what_it_imports(test: str):
    name = "../index.js" if "/" in test else "./index.js"
    assert is_test(test)
    assert is_runnable_test(test)
    assert _untested("index.js", "other.js", tests={test: [name]}).keys() == {"other.js"}


def test_declarations_benchmarks_and_files_of_one_system_want_no_test():
    modules = (
        "index.test-d.ts",
        "benchmark.js",
        "src/button.stories.tsx",
        "scripts-own/benchmarker.ts",
        "bench_load.py",
        "pkg/now_windows.go",
        "pkg/poll_linux_arm64.go",
        "pkg/hash_amd64.go",
        "database/seeds/users.ts",
        "benchtop.py",
        "pkg/now.go",
    )
    assert _untested(*modules, tests={}).keys() == {"benchtop.py", "pkg/now.go"}
    assert not is_test("src/button.stories.tsx")


def test_a_new_test_lies_where_the_others_lie_by_their_modules():
    beside = {"app/src/auth/tests/login.test.tsx": ["../login"]}
    assert _untested("app/src/auth/login.tsx", "app/src/shop/list.tsx", tests=beside, packages=["app"]) == {
        "app/src/shop/list.tsx": "app/src/shop/tests/list.test.tsx"
    }
    within = {"app/src/auth/__tests__/login.spec.ts": ["../login"]}
    assert _untested("app/src/auth/login.ts", "app/src/shop/list.ts", tests=within, packages=["app"]) == {
        "app/src/shop/list.ts": "app/src/shop/__tests__/list.spec.ts"
    }
    apart = {"app/test/login.test.ts": ["../src/auth/login"]}
    assert _untested("app/src/auth/login.ts", "app/src/shop/list.ts", tests=apart, packages=["app"]) == {
        "app/src/shop/list.ts": "app/test/list.test.ts"
    }
