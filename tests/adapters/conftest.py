"""Fixtures of the tests that call models: two scripted providers, a ledger, and connections closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from orchestrator.adapters.models import close_connections
from orchestrator.adapters.scripted import ScriptedProvider
from tests.adapters.model_fakes import HELLO, RecordingLedger


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(HELLO) as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(HELLO) as running:
        yield running


@pytest.fixture
async def connections() -> AsyncIterator[None]:
    yield
    await close_connections()


@pytest.fixture
def ledger() -> RecordingLedger:
    return RecordingLedger()
