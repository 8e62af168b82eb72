"""Fixtures that the rooms share, and the table of differences that the conformance tests print at the end."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

from support.backbones import enable_torchvision

gc.disable()  # until `pytest_collection_finish`
enable_torchvision(os.environ.get("MMPRM_EXTRAS"))  # before transformers is imported

import mmprm_hf  # noqa: F401  # isort: skip (first, as users do: `from transformers import pipeline` is then ours)
import pytest
import torch
from support.equivalence import EQUIVALENCE
from support.hub_stub import HubStub, serve_hub
from support.layout import ROOT
from support.tiny_models import louder, make_figure, make_policy, make_processor, make_tokenizer, text_config
from transformers import LlamaForCausalLM


def pytest_collection_finish() -> None:
    """Set apart what was imported: every later walk over all of transformers would take longer than a test.

    Imports run without the walks (a third of their time), and accelerate walks at the start of each training.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the table of differences, if conformance tests ran."""
    if not EQUIVALENCE:
        return
    ways = list(dict.fromkeys(way for row in EQUIVALENCE.values() for way in row))
    widths = [max(7, len(way) + 2) for way in ways]
    terminalreporter.write_line("\nlargest difference of a step score from that of the solution by itself (-: refused)")
    terminalreporter.write_line(" " * 14 + "".join(f"{way:>{width}}" for way, width in zip(ways, widths, strict=True)))
    for name, row in EQUIVALENCE.items():
        cells = ["" if way not in row else "-" if row[way] is None else f"{row[way]:.0e}" for way in ways]
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        terminalreporter.write_line(f"{name:<14}{line}")


def pytest_sessionfinish(session) -> None:
    """Hand over the part of the table that a worker of pytest-xdist has filled."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["equivalence"] = {name: dict(row) for name, row in EQUIVALENCE.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Join the parts of the table."""
    for name, row in getattr(node, "workeroutput", {}).get("equivalence", {}).items():
        EQUIVALENCE[name] |= row


@pytest.fixture(scope="session")
def tiny_processor():
    """LlavaProcessor whose tokenizer does not know <prm>. Do not change it: copy it first."""
    return make_processor()


@pytest.fixture(scope="session")
def tiny_policy(tiny_processor):
    """LLaVA policy of about 60,000 parameters. Do not change it: copy it first."""
    return make_policy(tiny_processor)


@pytest.fixture(scope="session")
def tiny_policy_dir(tmp_path_factory, tiny_policy, tiny_processor) -> str:
    """Folder with the tiny policy and its processor."""
    path = tmp_path_factory.mktemp("tiny_policy")
    tiny_policy.save_pretrained(path)
    tiny_processor.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def tiny_text_policy_dir(tmp_path_factory) -> str:
    """Folder with a text-only Llama policy and its tokenizer."""
    path = tmp_path_factory.mktemp("tiny_text_policy")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    louder(LlamaForCausalLM(text_config(len(tokenizer)))).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def tiny_prm_dir(tmp_path_factory, tiny_policy_dir) -> str:
    """Folder with a PRM and its processor, both made from the tiny policy."""
    from mmprm_hf.models import MMPRMModel, MMPRMProcessor

    path = tmp_path_factory.mktemp("tiny_prm")
    processor = MMPRMProcessor.from_policy(tiny_policy_dir)
    MMPRMModel.from_policy(tiny_policy_dir, processor).save_pretrained(path)
    processor.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def prm_processor(tiny_prm_dir):
    """Processor of the tiny PRM. Do not change it."""
    from mmprm_hf.models import MMPRMProcessor

    return MMPRMProcessor.from_pretrained(tiny_prm_dir)


@pytest.fixture(scope="session")
def figures():
    """Four different figures."""
    return [make_figure(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def tiny_scorer(tiny_prm_dir):
    """Scorer of the tiny PRM. Do not change it; it has no store."""
    from mmprm_hf.models import MMPRMModel, MMPRMProcessor
    from mmprm_hf.scoring import PRMScorer

    return PRMScorer(MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir))


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
