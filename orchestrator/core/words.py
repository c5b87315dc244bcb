"""Words as people write them: the forms in which one word appears, and the words of a text."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")
_DOUBLED = frozenset("bdfgklmnprtvz")
_VOWELS = frozenset("aeiou")


def counted(number: int, noun: str) -> str:
    """`1 finding`, `1,200 findings`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def forms(word: str) -> tuple[str, ...]:
    """Return `word` with its -s, -es, -ed and -ing forms, the usual spelling changes included.

    `format` gives `formatting`, `analyze` gives `analyzing`, `modify` gives `modifies`. Forms that no
    dictionary holds (`fixs`) are harmless: nobody writes them.
    """
    endings = [word, word + "s", word + "es", word + "ed", word + "ing"]
    last, before = word[-1:], word[-2:-1]
    if last == "e":
        endings += [word + "d", word[:-1] + "ing"]
    elif last == "y" and before and before not in _VOWELS:
        endings += [word[:-1] + "ies", word[:-1] + "ied"]
    elif last in _DOUBLED and before in _VOWELS:
        endings += [word + last + "ed", word + last + "ing"]
    return tuple(dict.fromkeys(endings))


def words(text: str) -> list[str]:
    """Return the words of `text` in lower case: runs of letters, digits and underscores."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())
