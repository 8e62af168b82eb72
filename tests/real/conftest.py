"""Real weights and real servers, made by recipes/real on first use; each server starts once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest
import torch
from support.real_server import RECIPES, RealServer, made_by

from mmprm_hf.engines import load_policy


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct."""
    return made_by("make_smollm2.sh")


@pytest.fixture(scope="session")
def text_model(smollm2):
    """SmolLM2 in this process and its tokenizer, in float32: bf16 breaks ties in another way than the server's."""
    torch.set_num_threads(1)
    return load_policy(smollm2, dtype=torch.float32)


@pytest.fixture(scope="session")
def text_server(smollm2, tmp_path_factory) -> Iterator[RealServer]:
    """SmolLM2 behind vLLM, in float32."""
    server = RealServer(smollm2, "smollm2", tmp_path_factory.mktemp("vllm") / "log.txt", "--dtype", "float32")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def smollm2_prm(smollm2, tmp_path_factory) -> Path:
    """Folder of SmolLM2 as its own, untrained PRM."""
    from mmprm_hf.models import MMPRMModel, MMPRMProcessor

    folder = tmp_path_factory.mktemp("prm")
    processor = MMPRMProcessor.from_policy(smollm2)
    MMPRMModel.from_policy(smollm2, processor, dtype=torch.float32).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory) -> Path:
    """Folder of a LLaVA of random weights with heads of size 32."""
    folder = tmp_path_factory.mktemp("llava")
    run([sys.executable, str(RECIPES / "tiny_llava.py"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def figure_server(llava, tmp_path_factory) -> Iterator[RealServer]:
    """The LLaVA behind vLLM, in float32 and with room for 512 tokens."""
    log = tmp_path_factory.mktemp("vllm") / "log.txt"
    server = RealServer(llava, "llava", log, "--dtype", "float32", "--max-model-len", "512")
    try:
        server.start()
        yield server
    finally:
        server.kill()
