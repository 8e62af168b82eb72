"""A policy behind a server with less room than the pipeline's usual number of new tokens."""

from __future__ import annotations

import pytest
from support.stub_server import StubServer
from transformers import pipeline

from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.rerank import ServedPolicy


def policy(messages, seed):
    return "<step>2 + 3 = 5</step><answer>5</answer>"


def test_only_a_number_that_nobody_named_is_lowered(tiny_prm_dir):
    with StubServer(policy, max_model_len=512) as server:
        rerank = pipeline("generate-and-rerank", model=ServedPolicy(server.url), prm=tiny_prm_dir, step_format="tagged")
        assert rerank(text="What is 2 + 3?", num_candidates=2)["answer"] == "5"
        assert server.bodies[-1]["max_tokens"] == 256
        for name in ("first", "again"):
            with pytest.raises(EngineUnavailableError, match="holds 512 tokens.*max_new_tokens is 1024"):
                rerank(text=f"What is 2 + 3, {name}?", num_candidates=2, max_new_tokens=1024)
        assert rerank(text="What is 2 + 3?", num_candidates=2)["answer"] == "5"
