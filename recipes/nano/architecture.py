"""The nano vision-language model: a LLaVA of 2.4 million parameters, with tokenizer and processor built in code.

Only classes of transformers are used, so that checkpoints load with ``AutoModelForImageTextToText`` and
``AutoProcessor``, without this package and without torchvision.
"""

from __future__ import annotations

import random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AddedToken,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from mmprm_hf.nano import FIGURE_SIZE
from mmprm_hf.nano.drawing import CELL
from mmprm_hf.nano.world import stream
from mmprm_hf.steps import TAGGED

PAD, END, USER, ASSISTANT, IMAGE, MARKER = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<image>", "<prm>"

# One user turn (figures first, then text), then the assistant's text.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|user|>' if message['role'] == 'user' else '<|assistant|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% if message['role'] == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE in which the nano world's words are one token each and every digit stands alone.

    Any other text encodes and decodes exactly, too, byte by byte.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d|[+\-*/=]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    nano = stream("train", seed=0)
    corpus = ["Yes", "No"] * 10
    for _ in range(3000):
        problem = next(nano)
        corpus += [problem.question, *problem.solve(random.Random(0))]
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )
    plain = [AddedToken(token, special=False, normalized=False) for token in (*TAGGED.tags, MARKER)]
    special = [AddedToken(token, special=True, normalized=False) for token in (USER, ASSISTANT, IMAGE)]
    fast.add_tokens(special, special_tokens=True)
    fast.add_tokens(plain)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_processor() -> LlavaProcessor:
    """Return the nano models' processor: figures are resized to 144 x 144 and cut into 36 patches of 24 pixels."""
    image_processor = SiglipImageProcessorPil(size={"height": FIGURE_SIZE, "width": FIGURE_SIZE})
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=build_tokenizer(),
        patch_size=CELL,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        num_additional_image_tokens=0,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlavaForConditionalGeneration:
    """Return a randomly initialised nano model (float32) for `tokenizer`."""
    vision = SiglipVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=FIGURE_SIZE,
        patch_size=CELL,
        vision_use_head=False,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=144,
        intermediate_size=384,
        num_hidden_layers=7,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_seq_length=(FIGURE_SIZE // CELL) ** 2,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.step_format = TAGGED.name  # what an engine reads its responses as
    model.generation_config._from_model_config = False  # else it drops names of ours when it is loaded
    return model
