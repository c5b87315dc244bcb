"""A user's configuration file beside a repository, and the smallest texts to put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.settings import Settings, load_settings
from orchestrator.core.domain import InvalidDocument

MODELS = """\
model_list:
  - model_name: cheap
    litellm_params: {model: openai/small, api_key: os.environ/ONE_API_KEY, max_tokens: 1000}
    model_info: {input_cost_per_token: 0.0000003, output_cost_per_token: 0.0000025}
  - model_name: smart
    litellm_params: {model: openai/large, api_key: os.environ/TWO_API_KEY, temperature: 0.5}
    model_info: {input_cost_per_token: 2e-6, output_cost_per_token: 1.0e-5}
"""
KEYS = {"ONE_API_KEY": "k", "TWO_API_KEY": "k"}


class Place:
    """A user's configuration file and a repository, in a directory of their own."""

    def __init__(self, root: Path) -> None:
        self.config = root / "config" / "litellm_budget_config.yaml"
        self.repository = root / "repository"
        self.overlay = self.repository / "litellm_budget_config.yaml"
        self.state = root / "state"
        for directory in (self.config.parent, self.repository, self.state):
            directory.mkdir()

    def load(self, text: str | None = None, overlay: str | None = None, **environ: str) -> Settings:
        if text is not None:
            self.config.write_text(text, encoding="utf-8")
        if overlay is not None:
            self.overlay.write_text(overlay, encoding="utf-8")
        return load_settings(
            config=None,
            repository=self.repository,
            environ={"ORCHESTRATOR_CONFIG_DIR": str(self.config.parent), **(environ or KEYS)},
            state=self.state,
        )

    def problems(self, text: str, overlay: str | None = None) -> list[str]:
        with pytest.raises(InvalidDocument) as raised:
            self.load(text, overlay)
        prefix = f"{self.config}:"
        return [str(problem).removeprefix(prefix) for problem in raised.value.problems]


def model(params: str, info: str = "") -> str:
    return (
        f"model_list:\n  - model_name: cheap\n    litellm_params: {{{params}}}\n    model_info: {{{info}}}\n"
    )
