"""Claims: a routing decision costs at most 100 microseconds with the default rules; 5,000 rules x 1,000 texts take
less than 10 seconds; a pattern that blows up Python's `re` is harmless.

Each figure stands beside a peer measured in the same run: LiteLLM's complexity router (rule-based, no network), one
compiled Python pattern per rule, Python's `re` on the evil pattern. CPU seconds of this process, best of the rounds.
Exit code 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import string
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

DECISION_MICROSECONDS = 100.0
MANY_SECONDS = 10.0
EVIL_SECONDS = 0.1
EVIL = "(a+)+$"

TEXTS = (
    "fix syntax error on line 23",
    "refactor user authentication system for better security",
    "please rename the variable in this file and tell me what else uses it",
    "design database schema for multi-tenant application",
    "do it now",
    "What does the function in the third module return when the list of orders is empty? Explain it step by step. "
    * 8,
)


def cpu_of(work: Callable[[], object], *, rounds: int) -> float:
    """The least CPU seconds that one call took."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def decisions(scratch: Path, *, rounds: int) -> float:
    """Microseconds of one decision over the packaged rules, bands, prices and standard."""
    from orchestrator.adapters.settings import load_settings
    from orchestrator.adapters.settings_standard import load_standard
    from orchestrator.core.money import Usd
    from orchestrator.core.routing import Request, route

    environ = {"OPENROUTER_API_KEY": "unused", "ORCHESTRATOR_CONFIG_DIR": str(scratch)}
    table = load_settings(config=None, repository=None, environ=environ, state=scratch).table
    standard = load_standard(repository=None, environ=environ)
    left = {"day": Usd.of("1.20")}
    requests = [Request(text=text, input_tokens=len(text) + 84) for text in TEXTS]
    repeats = 200

    def work() -> None:
        for _ in range(repeats):
            for request in requests:
                route(request, table, left=left, standard=standard)

    return cpu_of(work, rounds=rounds) / repeats / len(requests) * 1e6


def complexity_router(*, rounds: int) -> float | None:
    """Microseconds of one classification by LiteLLM's complexity router; None when it cannot be had."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    try:
        from litellm import Router
        from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter
    except ImportError as error:
        print(f"LiteLLM's complexity router is left out: {error}", file=sys.stderr)
        return None
    router = ComplexityRouter(
        model_name="auto",
        litellm_router_instance=Router(model_list=[]),
        complexity_router_config={
            "tiers": {"SIMPLE": "cheap", "MEDIUM": "cheap", "COMPLEX": "smart", "REASONING": "smart"}
        },
        default_model="cheap",
    )
    repeats = 3

    def work() -> None:
        for _ in range(repeats):
            for text in TEXTS:
                router.classify(text)

    work()
    return cpu_of(work, rounds=rounds) / repeats / len(TEXTS) * 1e6


def many_rules(rules: int, texts: int) -> tuple[float, float, float]:
    """CPU seconds to compile and to match, and those of one Python pattern per rule in turn."""
    from orchestrator.core.catalogue import RoutingRule
    from orchestrator.core.domain import ModelAlias
    from orchestrator.core.patterns import Patterns

    chance = random.Random(7)
    words = [
        "".join(chance.choices(string.ascii_lowercase, k=chance.randint(4, 9))) for _ in range(4 * rules)
    ]
    sources = ["|".join(chance.sample(words, 4)) for _ in range(rules)]
    asked = [
        " ".join(chance.choices(words, k=3) + ["".join(chance.choices("xyz", k=6)) for _ in range(17)])
        for _ in range(texts)
    ]
    given = [RoutingRule(pattern=source, model=ModelAlias("cheap")) for source in sources]
    began = time.process_time()
    patterns = Patterns(given)
    patterns.first("warm")
    compiled = time.process_time() - began
    began = time.process_time()
    hits = sum(patterns.first(text) is not None for text in asked)
    matched = time.process_time() - began
    if not hits:
        raise SystemExit("nothing matched: the bench measures nothing")
    # The peer is asked a share of the texts and its time scaled: in full it would take minutes.
    share = asked[: max(1, texts // 50)]
    naive = [re.compile(rf"\b(?:{source})\b", re.IGNORECASE) for source in sources]
    began = time.process_time()
    for text in share:
        next((index for index, each in enumerate(naive) if each.search(text)), None)
    return compiled, matched, (time.process_time() - began) * texts / len(share)


def evil() -> tuple[float, float, int]:
    """CPU seconds for a megabyte through ours, and of Python's `re` for so many characters."""
    from orchestrator.core.catalogue import RoutingRule
    from orchestrator.core.domain import ModelAlias
    from orchestrator.core.patterns import Patterns

    patterns = Patterns([RoutingRule(pattern=EVIL, model=ModelAlias("cheap"))])
    text = "a" * 1_000_000 + "!"
    ours = cpu_of(lambda: patterns.first(text), rounds=3)
    characters, theirs = 16, 0.0
    while theirs < 0.3:
        characters += 1
        short = "a" * characters + "!"
        theirs = cpu_of(lambda short=short: re.search(EVIL, short), rounds=1)  # type: ignore[misc]
    return ours, theirs, characters


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="500 rules x 100 texts, fewer rounds")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rounds = 3 if options.quick else 10
    rules, texts = (500, 100) if options.quick else (5000, 1000)
    with tempfile.TemporaryDirectory() as scratch:
        ours = decisions(Path(scratch), rounds=rounds)
    theirs = complexity_router(rounds=rounds)
    compiled, matched, naive = many_rules(rules, texts)
    linear, exponential, characters = evil()
    print(f"{'one decision, 3 default rules':42} {ours:12.1f} us   (limit {DECISION_MICROSECONDS:g})")
    if theirs is not None:
        print(f"{'  LiteLLM complexity router, classify':42} {theirs:12.1f} us   {theirs / ours:.0f}x ours")
    many = f"{rules:,} rules x {texts:,} texts"
    print(f"{many:42} {matched:12.3f} s    (limit {MANY_SECONDS:g}); compiled in {compiled:.2f} s")
    print(
        f"{'  a Python pattern per rule, in turn':42} {naive:12.3f} s    {naive / matched:.0f}x ours (scaled from 2 %)"
    )
    print(f"{f'{EVIL} against 1 MB':42} {linear:12.4f} s    (limit {EVIL_SECONDS:g})")
    print(f"{f'  Python re, against {characters} characters':42} {exponential:12.4f} s")
    figures = {
        "decision_microseconds": ours,
        "litellm_complexity_router_microseconds": theirs,
        "rules": rules,
        "texts": texts,
        "compile_seconds": compiled,
        "match_seconds": matched,
        "python_re_match_seconds_scaled": naive,
        "evil_megabyte_seconds": linear,
        "evil_python_re_seconds": exponential,
        "evil_python_re_characters": characters,
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    passed = ours <= DECISION_MICROSECONDS and compiled + matched <= MANY_SECONDS and linear <= EVIL_SECONDS
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
