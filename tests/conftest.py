"""Tiny policies, tokenizers and processors built in code: two layers, width 32, no files needed."""

from __future__ import annotations

import collections
import gc
import os

from support.backbones import enable_torchvision

enable_torchvision(os.environ.get("MMPRM_EXTRAS"))  # before transformers is imported

import mmprm_hf  # noqa: F401  # isort: skip (first, as users do: `from transformers import pipeline` is then ours)
import pytest
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

# Family -> way of scoring -> largest difference from every solution by itself, None if refused: the table at the end.
EQUIVALENCE: dict[str, dict[str, float | None]] = collections.defaultdict(dict)


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


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL_TOKENS = ["<pad>", "<unk>", "</s>", "<image>", "<|user|>", "<|assistant|>"]


class PlainTreeKernel:
    """What TRL's tree attention calls of FlashAttention 3, in plain torch."""

    @staticmethod
    def flash_attn_varlen_func(query, key, value, cu_q, cu_k, max_q, max_k, softmax_scale, causal, window_size):
        assert causal
        outputs = []
        for q0, q1, k0, k1 in zip(cu_q[:-1], cu_q[1:], cu_k[:-1], cu_k[1:], strict=True):
            assert q1 - q0 <= max_q and k1 - k0 <= max_k
            shift = int(k1 - k0 - (q1 - q0))  # queries stand at the end of their path
            seen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).tril(shift)
            if window_size[0] >= 0:
                seen = seen.triu(shift - window_size[0])
            parts = [t.transpose(0, 1) for t in (query[q0:q1], key[k0:k1], value[k0:k1])]  # (heads, length, head_dim)
            parts[1:] = [t.repeat_interleave(len(parts[0]) // len(t), dim=0) for t in parts[1:]]
            outputs.append(
                torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen, scale=softmax_scale)
            )
        return torch.cat(outputs, dim=1).transpose(0, 1)


def make_tokenizer(with_marker: bool = False) -> PreTrainedTokenizerFast:
    """Character tokenizer over printable ASCII with Yes and No as whole tokens; `with_marker` knows <prm> already."""
    special = SPECIAL_TOKENS + (["<prm>"] if with_marker else [])
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocab = {token: index for index, token in enumerate(special + ["Yes", "No"] + characters)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("Yes|No|[\\s\\S]"), "isolated")
    backend.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        extra_special_tokens=special[3:],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )


def make_processor(with_marker: bool = False) -> LlavaProcessor:
    """LLaVA processor with 16 image tokens (32 px, patches of 8)."""
    return LlavaProcessor(
        image_processor=SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=make_tokenizer(with_marker),
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=0,
    )


def text_config(vocab_size: int) -> LlamaConfig:
    """Two layers, width 32."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )


def make_policy(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """Random LLaVA policy; weights are large enough that scores differ clearly between texts."""
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        vision_use_head=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config(len(processor.tokenizer)),
        image_token_index=processor.image_token_id,
        image_seq_length=16,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return _louder(LlavaForConditionalGeneration(config))


def _louder(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5.0)
    return model.eval()


def make_figure(seed: int = 0) -> Image.Image:
    """A 32 px figure with two colours that depend on the seed."""
    figure = Image.new("RGB", (32, 32), (seed * 53 % 256, 80, 200))
    figure.paste((250, seed * 97 % 256, 10), (4 + seed % 8, 6, 20, 24))
    return figure


@pytest.fixture(scope="session", autouse=True)
def cheap_garbage_collection():
    """accelerate collects garbage at the start of a training; walking all of transformers takes most of its time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_processor() -> LlavaProcessor:
    """LlavaProcessor whose tokenizer does not know <prm>. Do not change it: copy it first."""
    return make_processor()


@pytest.fixture(scope="session")
def tiny_policy(tiny_processor: LlavaProcessor) -> LlavaForConditionalGeneration:
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
    _louder(LlamaForCausalLM(text_config(len(tokenizer)))).save_pretrained(path)
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
def figures() -> list[Image.Image]:
    """Four different figures."""
    return [make_figure(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def tiny_scorer(tiny_prm_dir):
    """Scorer of the tiny PRM. Do not change it; it has no store."""
    from mmprm_hf.models import MMPRMModel, MMPRMProcessor
    from mmprm_hf.scoring import PRMScorer

    return PRMScorer(MMPRMModel.from_pretrained(tiny_prm_dir), MMPRMProcessor.from_pretrained(tiny_prm_dir))
