"""Secrets taken out of foreign text before anybody keeps or shows it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, urlsplit

REDACTED = "[redacted]"

# Shorter values (a port, `none`, a user name) would blank out innocent text.
_SHORTEST = 8
_SECRET_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def secrets_in(environ: Mapping[str, str], *, variables: Iterable[str] = ()) -> frozenset[str]:
    """The values of the named variables and of all whose name says that they hold a secret."""
    names = {name for name in environ if _SECRET_NAME.search(name)} | set(variables)
    return frozenset(
        value.strip() for name in names if len((value := environ.get(name, "")).strip()) >= _SHORTEST
    )


def secrets_in_url(url: str | None) -> frozenset[str]:
    """Password (or token) in a URL's user info, long enough to be one."""
    if not url or "@" not in url:
        return frozenset()
    parts = urlsplit(url)
    return frozenset(value for value in (parts.username, parts.password) if value and len(value) >= _SHORTEST)


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without any of the secrets: as they are, URL-encoded or in Base64 (also inside a longer one).

    User info in URLs and the value after `Bearer` or `Basic` go as well, whatever they are.
    """
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, REDACTED)
    text = _USERINFO.sub(REDACTED, text)
    return _BEARER.sub(lambda match: f"{match[1]} {REDACTED}", text)


def _forms(secret: str) -> Iterable[str]:
    data = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield quote(data, safe="")
    yield quote_plus(data)
    yield data.hex()
    # A value encoded together with what is before it shows in one of three alignments; the characters at the
    # ends depend on the neighbours and are left out.
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * before + data).decode("ascii").rstrip("=")
            start = (before * 8 + 5) // 6
            end = (before + len(data)) * 8 // 6
            core = encoded[start:end]
            if len(core) >= _SHORTEST:
                yield core
