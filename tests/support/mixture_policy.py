"""A policy that writes one of a few texts by heart, token for token: in this process, and as a chat model's function.

It knows only its own tokens: behind a prompt that ends in any others it writes nonsense. So what it completes was
continued exactly as it would have written it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from support.backbone_parts import chatml_template, chatml_tokenizer, cut_as

NONSENSE = "?"
Texts = Mapping[str, Sequence[str]]


class MixturePolicy(LlamaForCausalLM):
    """Each next token has the share of the texts that go on with it.

    Keys and values of its only layer are the tokens themselves, so that it reads exactly what the cache and the mask
    show it.
    """

    def __init__(self, tokenizer: Any, texts: Texts) -> None:
        sizes = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1, "num_hidden_layers": 1}
        super().__init__(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes))
        self.tokenizer = tokenizer
        self.nonsense_id = tokenizer.convert_tokens_to_ids(NONSENSE)
        self.turn_ids = tokenizer("<|im_start|>assistant\n")["input_ids"]
        self.solutions = {
            question: [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in solutions]
            for question, solutions in texts.items()
        }

    def forward(self, input_ids, attention_mask=None, cache=None, past_key_values=None, logits_to_keep=0, **_: Any):
        cache = past_key_values if cache is None else cache  # transformers 5.23 calls it by the longer name
        keys = input_ids[:, None, :, None].float()
        tokens = cache.update(keys, keys, 0)[0][:, 0, :, 0].long()  # (rows, length)
        (num_rows, num_queries), length = input_ids.shape, tokens.shape[1]
        kept = range(num_queries)[-logits_to_keep:] if logits_to_keep else range(num_queries)
        logits = torch.full((num_rows, len(kept), self.config.vocab_size), -1e4)
        for row in range(num_rows):
            for place, query in enumerate(kept):
                if attention_mask.dim() == 2:
                    is_seen = attention_mask[row].bool() & (torch.arange(length) <= length - num_queries + query)
                else:
                    is_seen = attention_mask[row, 0, query]
                for token_id, share in self._next(tokens[row][is_seen].tolist()).items():
                    logits[row, place, token_id] = torch.tensor(share).log()
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    def _next(self, ids: list[int]) -> dict[int, float]:
        """The shares of the next token behind a prompt and what is written."""
        width = len(self.turn_ids)
        start = max(end for end in range(width, len(ids) + 1) if ids[end - width : end] == self.turn_ids)
        prompt = self.tokenizer.decode(ids[:start])
        solutions = next(texts for question, texts in self.solutions.items() if question in prompt)
        written = ids[start:]
        followers = [text[len(written)] for text in solutions if text[: len(written)] == written != text]
        if not followers:
            return {self.nonsense_id: 1.0}
        return {token_id: followers.count(token_id) / len(followers) for token_id in followers}


def mixture_policy(texts: Texts, cut: str = "gpt2") -> tuple[MixturePolicy, Any]:
    """The policy and its tokenizer, which cuts text as `support.backbone_parts.CUTS` says."""
    with cut_as(cut):
        tokenizer = chatml_tokenizer(chatml_template(), False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # its weights are read by nothing but the fingerprint of a run
        return MixturePolicy(tokenizer, texts).eval(), tokenizer


def served_mixture(texts: Texts) -> Callable[[list[dict[str, Any]], int], str]:
    """The same policy as a function for `StubServer`, which goes on with an opened turn."""

    def write(messages: list[dict[str, Any]], seed: int) -> str:
        asked = str(messages[0]["content"])
        opened = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        solutions = next(texts for question, texts in texts.items() if question in asked)
        fitting = [text for text in solutions if text.startswith(opened)]
        if not fitting:
            return NONSENSE
        digest = hashlib.sha256(f"{seed} {opened}".encode()).digest()
        return fitting[digest[0] % len(fitting)][len(opened) :]

    return write
