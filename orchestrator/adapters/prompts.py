"""Prompts from templates/prompts/: sandboxed Jinja in which an unknown name is an error.

Foreign text is only ever a value, never a template.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from orchestrator.adapters.state import digest, packaged

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(
        loader=FileSystemLoader(str(packaged("templates", "prompts"))),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def render(template: str, **values: object) -> str:
    """Return the prompt `templates/prompts/<template>` with the values filled in."""
    return _environment().get_template(template).render(**values)


def template_digest(*templates: str) -> str:
    """A short stable name for the templates' contents, for the provenance of what was made from them."""
    return digest(*(packaged("templates", "prompts", name).read_bytes() for name in templates))
