"""The checker on a real repository, in the real sandbox: baseline, blame, proofs, and a worktree left as it was."""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.adapters.check_runner import CheckRunner, Environment
from orchestrator.adapters.checks import ProjectChecker
from orchestrator.adapters.git import Repository
from orchestrator.adapters.sandbox import Sandbox
from orchestrator.adapters.workspaces import GitWorkspaces
from orchestrator.core.domain import AttemptId, Check, CheckKind, Evidence, RunId, SubtaskId, VerdictKind
from orchestrator.wiring import SystemClock
from tests.adapters.repositories import git, make_repository, subtask, write

SHOP = {
    "shop/__init__.py": "",
    "shop/price.py": "def total(prices, fee=0):\n    return sum(prices) - fee\n\n\n"
    "def cheapest(prices):\n    return min(prices)\n",
    "shop/stock.py": "def left(stock, taken):\n    if taken > stock:\n        raise ValueError('too many')\n"
    "    return stock - taken\n",
    "tests/__init__.py": "",
    "tests/test_price.py": """import unittest

from shop.price import cheapest, total


class Prices(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(total([1, 2]), 3)

    def test_cheapest(self):
        self.assertEqual(cheapest([3, 1, 2]), 1)
""",
    "bench.py": "import time\nfrom shop import price\ntime.sleep(getattr(price, 'PAUSE', 0.2))\n",
    ".gitignore": "*.pyc\n__pycache__/\n",
}
FIX = {
    "shop/price.py": SHOP["shop/price.py"].replace("- fee", "+ fee"),
    "tests/test_price.py": SHOP["tests/test_price.py"]
    + "\n    def test_fee(self):\n        self.assertEqual(total([1], 2), 3)\n",
}


@dataclass
class Shop:
    """A checker over a repository, and the attempts made in it."""

    root: Path
    checker: ProjectChecker
    workspaces: GitWorkspaces
    attempts: int = 0

    def verify(self, files, *, full=False, **changes):
        """Make the change in a fresh worktree; return (verdict, what is changed in the worktree afterwards)."""
        return asyncio.run(self._verify(files, full, changes))

    async def _verify(self, files, full, changes):
        self.attempts += 1
        asked = replace(subtask(f"try-{self.attempts}", touches=None), **changes)
        worktree = await self.workspaces.create(AttemptId(SubtaskId(asked.id), 1))
        await self.checker.prepare(worktree)
        for path, text in files.items():
            if text is None:
                (Path(worktree.path) / path).unlink()
            else:
                write(Path(worktree.path), {path: text})
        verdict = await self.checker.verify(worktree, asked, full=full)
        changed = await self.workspaces.changed_files(worktree)
        await self.workspaces.remove(worktree)
        return verdict, changed


def make_shop(place: Path, files=SHOP, *, commands=None, seconds=60.0, setup=()) -> Shop:
    root = place / "repo"
    make_repository(root, files)
    (place / "state").mkdir()
    environ = dict(os.environ) | {"ORCHESTRATOR_CACHE": str(place / "cache")}
    repository = Repository.open(root, environ)
    workspaces = GitWorkspaces(
        repository, run=RunId("20260101-000000-abcd"), base=repository.head(), state=place / "state"
    )
    asyncio.run(workspaces.start())
    settings = SimpleNamespace(
        commands=commands or {}, check_seconds=seconds, setup=setup, network_in_setup=False, deny_files=()
    )
    checker = ProjectChecker(
        workspaces=workspaces, settings=settings, sandbox=Sandbox.probe(), clock=SystemClock(), environ=environ
    )  # fmt: skip
    return Shop(root, checker, workspaces)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    commands = {
        "test": ("python", "-m", "unittest", "discover", "-s", "tests", "-t", "."),
        "bench": ("python", "bench.py"),
    }
    return make_shop(tmp_path_factory.mktemp("shop"), commands=commands)


def test_the_baseline_says_what_passes_and_whose_code_runs(tmp_path):
    made = make_shop(tmp_path)
    told = asyncio.run(made.checker.baseline())
    assert (told.can_check, told.passed, told.tests_passed, told.tests_failed, told.flaky) == (
        True,
        True,
        2,
        (),
        (),
    )
    assert "shop" in told.canary and "worktree" in told.canary
    assert git(made.root, "worktree", "list").count("\n") == 0
    assert git(made.root, "for-each-ref", "refs/orchestrator") == ""
    kept = list((tmp_path / "cache" / "baselines").glob("*.json"))
    assert len(kept) == 1


def test_a_fix_with_its_test_is_proved_and_leaves_nothing_behind(shop):
    verdict, changed = shop.verify(FIX)
    assert verdict.kind is VerdictKind.PROVED and verdict.full
    assert (
        verdict.evidence[0]
        == "test tests.test_price.Prices.test_fee failed without the change and passes with it"
    )
    (check,) = verdict.checks
    assert check.passed and check.command[:3] == ("python", "-m", "unittest")
    assert changed == ("shop/price.py", "tests/test_price.py")
    assert git(shop.root, "worktree", "list").count("\n") == 0


def test_a_broken_test_is_blamed_by_name_with_its_output(shop):
    verdict, _ = shop.verify({"shop/price.py": SHOP["shop/price.py"].replace("min(", "max(")})
    assert verdict.kind is VerdictKind.REJECTED
    assert (
        verdict.evidence[0]
        == "test tests.test_price.Prices.test_cheapest passed before and does not any more"
    )
    assert "AssertionError: 3 != 1" in verdict.checks[0].output and verdict.checks[0].passed is False


def test_a_module_that_cannot_be_imported_breaks_all_tests_of_its_file(shop):
    verdict, _ = shop.verify({"shop/price.py": SHOP["shop/price.py"].replace("def cheapest", "def dearest")})
    assert verdict.kind is VerdictKind.REJECTED
    assert "2 tests" in verdict.evidence[0] and "passed before" in verdict.evidence[0]


def test_a_new_test_that_fails_is_named_as_new(shop):
    files = {
        "tests/test_price.py": FIX["tests/test_price.py"],
        "shop/stock.py": SHOP["shop/stock.py"] + "\nLEFT = 1\n",
    }
    verdict, _ = shop.verify(files)
    assert verdict.evidence[0] == "new test tests.test_price.Prices.test_fee does not pass"


def test_new_tests_of_working_code_must_notice_planted_faults(shop):
    good = (
        "import unittest\n\nfrom shop.stock import left\n\n\nclass Stock(unittest.TestCase):\n"
        "    def test_left(self):\n        self.assertEqual(left(5, 5), 0)\n"
    )
    about = (Evidence(path="shop/stock.py", line=1, fact="no tests"),)
    verdict, _ = shop.verify({"tests/test_stock.py": good}, category="cheap/unit-tests", evidence=about)
    assert verdict.kind is VerdictKind.PROVED and "shop/stock.py line" in verdict.evidence[0]
    blind = good.replace("self.assertEqual(left(5, 5), 0)", "self.assertTrue(left)")
    verdict, _ = shop.verify({"tests/test_stock.py": blind}, category="cheap/unit-tests", evidence=about)
    assert verdict.kind is VerdictKind.REJECTED and "notice none of" in verdict.evidence[0]


@pytest.mark.slow
def test_an_optimisation_is_measured_by_its_declared_command(shop):
    asked = {
        "category": "smart/performance-analysis",
        "checks": (Check(kind=CheckKind.COMMAND, targets=("bench",)),),
    }
    faster = SHOP["shop/price.py"] + "\n\nPAUSE = 0\n"
    verdict, _ = shop.verify({"shop/price.py": faster}, **asked)
    assert verdict.kind is VerdictKind.PROVED and "times as long" in verdict.evidence[0]
    slower = SHOP["shop/price.py"] + "\n\nPAUSE = 0.5\n"
    verdict, _ = shop.verify({"shop/price.py": slower}, **asked)
    assert verdict.kind is VerdictKind.REJECTED and "slower than before" in verdict.evidence[0]


def test_a_test_edited_to_hide_a_fault_is_found_by_the_test_as_it_was(shop):
    """Nothing is weakened that one could read: the fixture does it."""
    hiding = SHOP["tests/test_price.py"].replace(
        "class Prices(unittest.TestCase):\n",
        "class Prices(unittest.TestCase):\n    def setUp(self):\n        import shop.price\n"
        "        shop.price.min = globals()['min'] = min\n        globals()['cheapest'] = lambda prices: 1\n",
    )
    verdict, _ = shop.verify(
        {"tests/test_price.py": hiding, "shop/price.py": SHOP["shop/price.py"].replace("min(", "max(")}
    )
    assert verdict.kind is VerdictKind.REJECTED
    assert any(
        "as it was, tests.test_price.Prices.test_cheapest does not pass" in line for line in verdict.evidence
    )


def test_an_unsteady_change_is_rejected_though_it_passed(shop):
    coin = "import itertools\n\nCOUNT = itertools.count()\n\n\n" + SHOP["shop/price.py"].replace(
        "return min(prices)", "return min(prices) if next(COUNT) != 2 else 0"
    )
    verdict, _ = shop.verify({"shop/price.py": coin})
    assert verdict.kind is VerdictKind.REJECTED
    assert "passed only sometimes" in verdict.evidence[0]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"shop/price.py": "def total(:\n"}, "shop/price.py:1: is no Python any more"),
        ({"tests/test_price.py": None}, "the test Prices.test_cheapest was deleted"),
        ({"shop/price.py": SHOP["shop/price.py"] + "# a comment\n"}, "only layout or comments changed"),
    ],
)
def test_what_needs_no_run_is_rejected_without_one(shop, files, said):
    verdict, _ = shop.verify(files)
    assert verdict.kind is VerdictKind.REJECTED and verdict.checks == ()
    assert any(said in line for line in verdict.evidence)


def test_a_check_that_names_no_test_that_ran_is_not_passed(shop):
    named = (Check(kind=CheckKind.TESTS, targets=("tests/test_stock.py",)),)
    verdict, _ = shop.verify(FIX, checks=named)
    assert verdict.kind is VerdictKind.REJECTED
    assert verdict.evidence[0] == "tests/test_stock.py: is to be passed, and no such test ran"


def test_what_checks_leave_in_the_worktree_does_not_stay_there(tmp_path):
    littering = SHOP["tests/test_price.py"].replace(
        "import unittest\n",
        "import unittest\nopen('litter.txt', 'w').write('x')\nopen('shop/stock.py', 'a').write('# changed\\n')\n",
    )
    made = make_shop(tmp_path, SHOP | {"tests/test_price.py": littering})
    verdict, changed = made.verify({"shop/price.py": FIX["shop/price.py"]})
    assert verdict.kind is VerdictKind.UNBROKEN
    assert changed == ("shop/price.py",)
    kept = git(made.root, "for-each-ref", "--format=%(refname)", "refs/orchestrator")
    assert kept == "refs/orchestrator/20260101-000000-abcd/try-1/1"
    assert git(made.root, "diff", "--name-only", made.workspaces.base, kept) == "shop/price.py"


FLAKY = """import os
import unittest


class Coin(unittest.TestCase):
    def test_coin(self):
        # Every second run of a process fails.
        place = os.path.join(os.environ['COIN'], 'coin')
        count = os.path.getsize(place) if os.path.exists(place) else 0
        with open(place, 'a') as file:
            file.write('x')
        self.assertEqual(count % 2, 0)
"""


@pytest.mark.slow
def test_a_test_that_flakes_on_the_base_is_listed_and_never_blamed(tmp_path):
    coin = tmp_path / "coin"
    coin.mkdir()
    text = FLAKY.replace("os.environ['COIN']", repr(str(coin)))
    made = make_shop(tmp_path, SHOP | {"tests/test_coin.py": text})
    made.checker.runner = replace(made.checker.runner, sandbox=Sandbox.probe(wanted=False))
    told = asyncio.run(made.checker.baseline())
    assert told.flaky == ("tests.test_coin.Coin.test_coin",)
    for _ in range(2):
        verdict, _ = made.verify(FIX)
        assert verdict.kind is VerdictKind.PROVED


def test_failures_of_the_base_are_not_blamed_and_mending_one_proves(tmp_path):
    red = {"tests/test_stock.py": "import unittest\nfrom shop.stock import left\n\n\nclass Stock(unittest.TestCase):\n"
           "    def test_all(self):\n        self.assertEqual(left(5, 6), 0)\n"}  # fmt: skip
    made = make_shop(tmp_path, SHOP | red)
    told = asyncio.run(made.checker.baseline())
    assert told.can_check and told.passed is False
    assert told.tests_failed == ("tests.test_stock.Stock.test_all",)
    verdict, _ = made.verify({"shop/price.py": FIX["shop/price.py"]})
    assert verdict.kind is VerdictKind.UNBROKEN
    assert "not blamed, failing before: tests.test_stock.Stock.test_all" in verdict.evidence
    mended = SHOP["shop/stock.py"].replace("        raise ValueError('too many')\n", "        return 0\n")
    verdict, _ = made.verify({"shop/stock.py": mended})
    assert verdict.kind is VerdictKind.PROVED and "test_all" in verdict.evidence[0]


@pytest.mark.parametrize(
    ("files", "commands", "said"),
    [
        ({"README.md": "# nothing\n"}, {}, "no test, lint or build command was found"),
        ({"README.md": "# it\n"}, {"test": ("no-such-runner",)}, "no-such-runner is not installed"),
        (
            {"tests/test_a.py": "import unittest\nimport nowhere_at_all\n"},
            {"test": ("python", "-m", "unittest", "discover", "-s", "tests")},
            "no test passes on the commit it starts from",
        ),
    ],
)
def test_checks_that_cannot_run_are_said_with_the_reason(tmp_path, files, commands, said):
    made = make_shop(tmp_path, files, commands=commands)
    told = asyncio.run(made.checker.baseline())
    assert not told.can_check and said in told.reason and told.passed is None


def test_lint_that_failed_before_is_blamed_for_new_findings_only(tmp_path):
    files = SHOP | {"shop/stock.py": "import os\n" + SHOP["shop/stock.py"]}
    made = make_shop(
        tmp_path, files, commands={"lint": ("ruff", "check", "--no-cache", "--output-format=concise", ".")}
    )
    verdict, _ = made.verify(FIX)
    assert verdict.kind is VerdictKind.PROVED and "lint failed before as it does now" in verdict.evidence
    worse = {
        "shop/price.py": "import re\n" + FIX["shop/price.py"],
        "tests/test_price.py": FIX["tests/test_price.py"],
    }
    verdict, _ = made.verify(worse)
    assert verdict.kind is VerdictKind.REJECTED and "lint ended with exit code 1" in verdict.evidence[0]
    (lint,) = [check for check in verdict.checks if check.name == "lint"]
    assert "shop/price.py" in lint.output and "stock" not in lint.output


@pytest.mark.slow
def test_a_command_that_does_not_end_is_stopped_and_rejects(tmp_path):
    made = make_shop(tmp_path, seconds=3.0)
    assert asyncio.run(made.checker.baseline()).can_check
    endless = SHOP["shop/price.py"].replace("return min(prices)", "while True:\n        pass")
    verdict, _ = made.verify({"shop/price.py": endless})
    assert verdict.kind is VerdictKind.REJECTED
    assert "limit of time" in verdict.checks[0].output


def test_work_that_landed_meanwhile_is_the_base_of_the_next_verdict(shop):
    """A test that another subtask took away with good reason is not missed here."""

    async def landed():
        worktree = await shop.workspaces.create(AttemptId(SubtaskId("other"), 1))
        root = Path(worktree.path)
        (root / "tests/test_price.py").write_text(
            SHOP["tests/test_price.py"].partition("    def test_cheapest")[0]
        )
        commit = await shop.workspaces.commit(worktree, message="gone", trailers={})
        await shop.workspaces.remove(worktree)
        await shop.workspaces.advance(commit, expected=await shop.workspaces.tip())

    asyncio.run(landed())
    verdict, _ = shop.verify(
        {"shop/stock.py": SHOP["shop/stock.py"].replace("taken > stock", "stock < taken")}, full=True
    )
    assert verdict.kind is VerdictKind.UNBROKEN and verdict.full


def test_of_a_long_suite_an_attempt_runs_what_it_affects_and_its_landing_everything(shop):
    asyncio.run(shop.checker.baseline())
    measured = shop.checker._baseline
    shop.checker._baseline = replace(measured, seconds=1000.0)
    try:
        other = {"shop/stock.py": SHOP["shop/stock.py"].replace("taken > stock", "stock < taken")}
        test = (
            "import unittest\nfrom shop.stock import left\n\n\nclass Stock(unittest.TestCase):\n"
            "    def test_left(self):\n        self.assertEqual(left(2, 1), 1)\n"
        )
        verdict, _ = shop.verify(other | {"tests/test_stock.py": test})
        assert verdict.kind is VerdictKind.UNBROKEN and not verdict.full
        assert "test_left" in verdict.checks[0].output and "test_sum" not in verdict.checks[0].output
        verdict, _ = shop.verify(other, full=True)
        assert verdict.full and "test_sum" in verdict.checks[0].output
    finally:
        shop.checker._baseline = measured


@pytest.mark.slow
def test_a_changed_manifest_is_set_up_again_and_what_it_lacks_is_said(shop):
    verdict, _ = shop.verify({"requirements.txt": "no-such-distribution-anywhere==1\n"} | FIX)
    assert verdict.kind is VerdictKind.REJECTED
    assert verdict.evidence[0].startswith("set-up: pip install ended with exit code 1")


def test_a_lint_check_proves_a_mechanical_fix_by_what_it_finds_no_more(tmp_path):
    made = make_shop(tmp_path, SHOP | {"shop/stock.py": "import os\nimport re\n" + SHOP["shop/stock.py"]})
    asked = {
        "category": "cheap/code-formatting",
        "checks": (Check(kind=CheckKind.LINT, targets=("shop/stock.py",)),),
    }
    verdict, _ = made.verify({"shop/stock.py": SHOP["shop/stock.py"]}, **asked)
    assert verdict.kind is VerdictKind.PROVED
    assert verdict.evidence[0].startswith("lint shop/stock.py finds 0 faults, ")
    verdict, _ = made.verify(
        {"shop/stock.py": "import re\nimport sys\nimport os\n" + SHOP["shop/stock.py"]}, **asked
    )
    assert verdict.kind is VerdictKind.REJECTED


def test_without_named_tests_the_exit_code_is_compared_with_the_base(tmp_path):
    files = {"check.py": "import sys\nsys.exit(open('value').read() != 'good\\n')\n", "value": "bad\n"}
    made = make_shop(tmp_path, files, commands={"test": ("python", "check.py"), "lint": ("python", "-V")})
    told = asyncio.run(made.checker.baseline())
    assert told.can_check and told.tests_failed == ("tests",)
    verdict, _ = made.verify({"value": "good\n"})
    assert verdict.kind is VerdictKind.PROVED


def test_colours_are_taken_out_of_what_a_check_says(tmp_path):
    runner = CheckRunner(sandbox=Sandbox.probe(), environ=dict(os.environ), seconds=60.0)
    (tmp_path / "red.py").write_text("print('\\x1b[1;31mred\\x1b[0m \\x1b]0;title\\x07end')\n")
    ran = asyncio.run(runner.run(("python", "red.py"), worktree=str(tmp_path), environment=Environment()))
    assert ran.output == "red end\n"


def test_a_named_command_that_cannot_run_or_fails_alike_without_the_change_rejects_only_a_fix(tmp_path):
    lint = "import sys\nprint('shop/price.py:1: old')\nsys.exit(int(sys.argv[1]))\n"
    commands = {
        "test": ("python", "-m", "unittest", "discover", "-s", "tests", "-t", "."),
        "missing": ("sh", "-c", "no-such-linter"),
        "old": ("python", "lint.py", "1"),
    }
    shop = make_shop(tmp_path, SHOP | {"lint.py": lint}, commands=commands)
    named = tuple(Check(kind=CheckKind.COMMAND, targets=(name,)) for name in ("missing", "old"))
    change = {"shop/price.py": SHOP["shop/price.py"].replace("- fee", "+ fee")}
    other, _ = shop.verify(change, category="smart/architecture-design", checks=named)
    assert other.lands, other.evidence
    assert [check.passed for check in other.checks if check.name in ("missing", "old")] == [None, None]
    fix, _ = shop.verify(change, category="cheap/bug-fixes", checks=named)
    assert not fix.lands
