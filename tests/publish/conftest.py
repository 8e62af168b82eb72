"""A Hub on loopback for `huggingface_hub` in this process and in others."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.hub_stub import HubStub, serve_hub
from support.layout import ROOT


@pytest.fixture
def hub(monkeypatch) -> Iterator[HubStub]:
    """The stub, which is the Hub while the test runs."""
    with serve_hub() as stub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", stub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        yield stub


@pytest.fixture
def hub_environment(hub, tmp_path) -> dict[str, str]:
    """Environment of another process that asks the stub."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **settings}
