"""Where packages come from on this machine, for the set-up step only: indexes, mirrors, proxies, certificates.

The set-up has a network and runs code of packages, so it gets addresses and never a credential: a value with a
user in its address is left out, and no file with tokens is shown to it.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_PASSED = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|CERT|TRUSTED_HOST|DEFAULT_TIMEOUT|NO_INDEX|RETRIES|PREFER_BINARY)"
    r"|UV_(INDEX_URL|EXTRA_INDEX_URL|DEFAULT_INDEX|INDEX|FIND_LINKS|NATIVE_TLS|HTTP_TIMEOUT|OFFLINE)"
    r"|COREPACK_(NPM_REGISTRY|INTEGRITY_KEYS)|(npm_config|NPM_CONFIG)_(registry|cafile|REGISTRY|CAFILE)|NODE_EXTRA_CA_CERTS|YARN_REGISTRY"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|CARGO_HTTP_CAINFO"
    r"|(HTTP|HTTPS|ALL|NO)_PROXY|(http|https|all|no)_proxy|GOPROXY|GONOSUMDB|GOSUMDB|GONOSUMCHECK|GOFLAGS"
)
_USER = re.compile(r"://[^/\s]*@")
_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "cert", "trusted-host", "timeout", "no-index")
_NPM_KEYS = ("registry", "cafile")


def registry_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What of our environment, pip's and npm's files says where packages are; nothing with a user in it."""
    home = Path(environ.get("HOME") or "/nonexistent")
    found = dict(_of_pip(home, environ)) | dict(_of_npm(home))
    found |= {name: value for name, value in environ.items() if _PASSED.fullmatch(name)}
    return {name: value for name, value in found.items() if not _USER.search(value)}


def local_places(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Files and directories that such values name, which the set-up has to be able to read."""
    places = []
    for value in variables.values():
        for word in re.split(r"[\s,;]+", value):
            path = word.removeprefix("file://")
            if path.startswith("/") and Path(path).exists():
                places.append(path)
    return tuple(dict.fromkeys(places))


def _of_pip(home: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    chosen = environ.get("PIP_CONFIG_FILE")
    places = [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    for place in [*places, *([Path(chosen)] if chosen else [])]:
        parser = configparser.RawConfigParser()
        try:
            parser.read(place, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            for key in _PIP_KEYS:
                if parser.has_option(section, key):
                    yield f"PIP_{key.replace('-', '_').upper()}", " ".join(parser.get(section, key).split())


def _of_npm(home: Path) -> Iterator[tuple[str, str]]:
    for place in (Path("/etc/npmrc"), home / ".npmrc"):
        try:
            lines = place.read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = (part.strip() for part in line.partition("="))
            if key in _NPM_KEYS and value:
                yield f"npm_config_{key}", value
                if key == "registry":
                    yield "COREPACK_NPM_REGISTRY", value
