"""How many tokens a prompt can be at most, without any tokenizer."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence

from orchestrator.core.ports import Message

# Role, separators and begin/end marks of one message, in every chat template we know of, with room to spare.
_PER_MESSAGE = 16
_PER_REQUEST = 64
# Where a schema travels as a tool, the provider adds a system prompt of its own about tools.
_PER_SCHEMA = 640


def input_token_bound(messages: Sequence[Message], schema: Mapping[str, object] | None = None) -> int:
    """Return a number of tokens that the prompt is certainly not above: about 3.5 times the real count for code.

    A byte-level BPE tokenizer (OpenAI, Anthropic, Llama 3, Qwen, DeepSeek, Mistral) only ever merges bytes, so a
    text has at most as many tokens as UTF-8 bytes. SentencePiece with byte fallback (Gemini, Gemma, Llama 2) is
    bounded by the bytes too, but may normalise first, which can make a text longer: the longer form counts.
    Nothing tighter can be proved without the vendor's tokenizer, and an under-count would let a bill pass its hold.
    """
    bound = _PER_REQUEST + sum(
        _PER_MESSAGE + byte_bound(message.role) + byte_bound(message.content) for message in messages
    )
    if schema is not None:
        bound += _PER_SCHEMA + byte_bound(json.dumps(schema, ensure_ascii=False))
    return bound


def byte_bound(text: str) -> int:
    """The UTF-8 length of the text or of its NFKC form, whichever is greater."""
    raw = len(text.encode("utf-8", "surrogatepass"))
    if text.isascii():
        return raw
    return max(raw, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))
