"""Files that never go to a model, known by their names, and the values in them, which go nowhere either."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pathspec

DENIED = (
    ".env",
    ".env.*",
    ".envrc",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.jks",
    "*.keystore",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    "*credentials*.json",
    "*secret*.json",
    "*secrets*.y*ml",
    "service-account*.json",
    "*.tfstate",
    "*.tfvars",
    ".docker/config.json",
    ".kube/config",
    ".aws/**",
    ".ssh/**",
    ".gnupg/**",
)
# What is kept under a denied name to show which settings there are.
_SAMPLE = re.compile(r"\.(example|sample|template|dist|defaults?)$", re.IGNORECASE)
_SETTING = re.compile(r"[\w-]+[\"']?\s*[=:]\s*[\"']?([^\s\"',;]{8,})")
_LINE_OF_A_KEY = re.compile(r"^[A-Za-z0-9+/=_-]{20,}$", re.MULTILINE)


class DeniedFiles:
    """The globs of `DENIED` and further ones, in the language of .gitignore; upper and lower case are the same."""

    def __init__(self, globs: Iterable[str] = ()) -> None:
        self.globs = tuple(dict.fromkeys((*DENIED, *globs)))

    @cached_property
    def _spec(self) -> pathspec.PathSpec[Any]:
        import pathspec

        return pathspec.GitIgnoreSpec.from_lines((*self.globs, *(glob.lower() for glob in self.globs)))

    def match(self, path: str) -> bool:
        return bool(self._spec.match_file(path) or self._spec.match_file(path.lower()))

    def with_secrets(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that are denied, samples of settings left out."""
        return [path for path in paths if self.match(path) and not _SAMPLE.search(path)]


def values_in(data: bytes) -> Iterator[str]:
    """Values of settings (`NAME=value`, `name: value`, JSON) and lines of a key, if long enough to be a secret."""
    text = data.decode("utf-8", "replace")
    for match in _SETTING.finditer(text):
        yield match.group(1)
    yield from _LINE_OF_A_KEY.findall(text)
