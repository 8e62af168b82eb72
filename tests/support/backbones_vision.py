"""Tiny vision-language policies of many families with their stock processors; see `backbones.py`.

Those that do without torchvision come first. Their image processors are the PIL ones; where torchvision is installed,
a saved folder loads those of torchvision.
"""

from __future__ import annotations

from typing import Any

from support.backbone_parts import (
    NUM_PADDING_ROWS,
    WIDTH,
    chatml_template,
    chatml_tokenizer,
    gemma_settings,
    gemma_tokenizer,
    llama3_tokenizer,
    make_policy,
    make_template,
    make_tokenizer,
    text_settings,
    vision_settings,
)


def build_llava(with_marker: bool = False) -> tuple[Any, Any]:
    """LLaVA 1.5: CLIP without its class token, 16 tokens for every image (centre crop)."""

    import transformers as hf

    template = make_template("USER: ", " ", "ASSISTANT:", "<image>\n")
    tokenizer = make_tokenizer("<pad>", "</s>", "<s>", True, ("<image>",), None, template, with_marker)
    processor = hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**vision_settings(8), projection_dim=WIDTH),
        text_config=hf.LlamaConfig(**text_settings(tokenizer)),
        image_token_index=processor.image_token_id,
        image_seq_length=16,
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    return make_policy(hf.LlavaForConditionalGeneration, config), processor


def build_llava_next(with_marker: bool = False) -> tuple[Any, Any]:
    """LLaVA-NeXT on Mistral without window: whole image and tiles of 4 tokens, rows ended by a newline embedding."""

    import transformers as hf

    pinpoints = [[32, 64], [64, 32], [64, 64], [32, 96], [96, 32]]
    template = make_template("[INST] ", " ", "[/INST]", "<image>\n")
    special = ("[INST]", "[/INST]", "<image>")
    tokenizer = make_tokenizer("<pad>", "</s>", "<s>", True, special, None, template, with_marker)
    processor = hf.LlavaNextProcessor(
        image_processor=hf.LlavaNextImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints
        ),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**vision_settings(16), projection_dim=WIDTH),
        text_config=hf.MistralConfig(**text_settings(tokenizer), sliding_window=None),
        image_token_index=processor.image_token_id,
        image_grid_pinpoints=pinpoints,
        image_seq_length=4,
    )
    return make_policy(hf.LlavaNextForConditionalGeneration, config), processor


def _build_gemma3(with_marker: bool, layer_types: list[str]) -> tuple[Any, Any]:
    import transformers as hf

    tokenizer = gemma_tokenizer(
        with_marker,
        "<start_of_image>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )
    processor = hf.Gemma3Processor(
        image_processor=hf.Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=4,
    )
    config = hf.Gemma3Config(
        text_config=hf.Gemma3TextConfig(**gemma_settings(tokenizer, layer_types)),
        vision_config=hf.SiglipVisionConfig(**vision_settings(8), vision_use_head=False),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )
    return make_policy(hf.Gemma3ForConditionalGeneration, config), processor


def build_gemma3(with_marker: bool = False) -> tuple[Any, Any]:
    """Gemma 3: sliding and full layers, image tokens attend to each other both ways."""
    return _build_gemma3(with_marker, ["sliding_attention", "full_attention"] * 2)


def build_gemma3_full(with_marker: bool = False) -> tuple[Any, Any]:
    """Gemma 3 with full attention in all layers."""
    return _build_gemma3(with_marker, ["full_attention"] * 2)


def _build_idefics(family: str, tokenizer: Any, image_processor_class: str) -> tuple[Any, Any]:
    """Idefics 3 or SmolVLM: the longest edge becomes 64 px; tiles of 32 px and the whole image, 4 tokens each."""
    import transformers as hf

    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    video = {"video_processor": hf.SmolVLMVideoProcessor(**sizes)} if family == "SmolVLM" else {}
    processor = getattr(hf, f"{family}Processor")(
        image_processor=getattr(hf, image_processor_class)(**sizes),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=tokenizer.chat_template,
        **video,
    )
    config = getattr(hf, f"{family}Config")(
        vision_config=getattr(hf, f"{family}VisionConfig")(**vision_settings(8)),
        text_config=hf.LlamaConfig(**text_settings(tokenizer)),
        image_token_id=processor.image_token_id,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    return make_policy(getattr(hf, f"{family}ForConditionalGeneration"), config), processor


def _idefics_special_tokens() -> tuple[str, ...]:
    places = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    return ("<fake_token_around_image>", "<image>", "<global-img>", *places)


def build_idefics3(with_marker: bool = False) -> tuple[Any, Any]:
    """Idefics 3 on Llama 3: always tiled, and the number of tiles depends on the shape."""
    template = make_template("User: ", "<end_of_utterance>\n", "Assistant:", "<image>", "<|begin_of_text|>")
    special = ("<end_of_utterance>", *_idefics_special_tokens())
    tokenizer = llama3_tokenizer(template, with_marker, special)
    return _build_idefics("Idefics3", tokenizer, "Idefics3ImageProcessorPil")


def build_paligemma(with_marker: bool = False) -> tuple[Any, Any]:
    """PaliGemma on Gemma 1: the whole prompt attends both ways; the processor itself writes <bos> and the newline.

    Its released processors have no chat template; this one only puts the image first.
    """

    import transformers as hf

    template = make_template("", "", "", "<image>")
    tokenizer = make_tokenizer("<pad>", "<eos>", "<bos>", False, ("<image>",), None, template, with_marker)
    image_processor = hf.SiglipImageProcessorPil(size={"height": 32, "width": 32}, image_seq_length=16)
    processor = hf.PaliGemmaProcessor(image_processor, tokenizer, chat_template=template)
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(**vision_settings(8), vision_use_head=False),
        text_config=hf.GemmaConfig(**gemma_settings(tokenizer)),
        image_token_index=processor.image_token_id,
        projection_dim=WIDTH,
        hidden_size=WIDTH,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
    )
    return make_policy(hf.PaliGemmaForConditionalGeneration, config), processor


# Vision-language families whose stock processor needs torchvision


def build_llava_onevision(with_marker: bool = False) -> tuple[Any, Any]:
    """LLaVA-OneVision: whole image and tiles of 4 tokens; several images in a prompt are not tiled."""

    import transformers as hf

    pinpoints = [[32, 32], [32, 64], [64, 32], [64, 64], [32, 96], [96, 32]]
    template = make_template("<|im_start|>user ", "<|im_end|>", "<|im_start|>assistant\n", "<image>\n")
    tokenizer = chatml_tokenizer(template, with_marker, ("<image>", "<video>"))
    size = {"height": 32, "width": 32}
    processor = hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=pinpoints),
        tokenizer=tokenizer,
        video_processor=hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=template,
    )
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**vision_settings(16), vision_use_head=False),
        text_config=hf.Qwen2Config(**text_settings(tokenizer)),
        image_token_index=processor.image_token_id,
        video_token_index=processor.video_token_id,
        image_grid_pinpoints=pinpoints,
    )
    return make_policy(hf.LlavaOnevisionForConditionalGeneration, config), processor


def build_internvl(with_marker: bool = False) -> tuple[Any, Any]:
    """InternVL 3: up to 4 tiles and a thumbnail, 4 tokens each, between <img> and </img>."""

    import transformers as hf

    template = chatml_template("<IMG_CONTEXT>\n")
    tokenizer = chatml_tokenizer(
        template,
        with_marker,
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    size = {"height": 32, "width": 32}
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=4),
        tokenizer=tokenizer,
        video_processor=hf.InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=template,
    )
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(**vision_settings(8)),
        text_config=hf.Qwen2Config(**text_settings(tokenizer)),
        image_token_id=processor.image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    return make_policy(hf.InternVLForConditionalGeneration, config), processor


def _qwen_vl_tokenizer(with_marker: bool) -> Any:
    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    return chatml_tokenizer(chatml_template("<|vision_start|><|image_pad|><|vision_end|>"), with_marker, special)


def _qwen_vl_settings(tokenizer: Any) -> dict[str, Any]:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
        "tie_word_embeddings": False,
    }


def _qwen_vision_settings() -> dict[str, Any]:
    return {
        "depth": 2,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_heads": 2,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "out_hidden_size": WIDTH,
    }


def _qwen_vl_processor(processor_class: Any, video_processor_class: Any, tokenizer: Any) -> Any:
    """One token for 16 x 16 px, between 4 and 16 tokens."""

    import transformers as hf

    settings = {
        "size": {"shortest_edge": 4 * 16 * 16, "longest_edge": 16 * 16 * 16},
        "patch_size": 8,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }
    return processor_class(
        image_processor=hf.Qwen2VLImageProcessor(**settings),
        tokenizer=tokenizer,
        video_processor=video_processor_class(**settings),
        chat_template=tokenizer.chat_template,
    )


def build_qwen2_5_vl(with_marker: bool = False) -> tuple[Any, Any]:
    """Qwen 2.5 VL: three-row positions, windows of 32 px in the first vision layer, more rows than tokens."""

    import transformers as hf

    tokenizer = _qwen_vl_tokenizer(with_marker)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
    text = {**text_settings(tokenizer, num_padding_rows=NUM_PADDING_ROWS), "rope_parameters": rope}
    config = hf.Qwen2_5_VLConfig(
        vision_config={**_qwen_vision_settings(), "window_size": 32, "fullatt_block_indexes": [1]},
        text_config=text,
        **_qwen_vl_settings(tokenizer),
    )
    processor = _qwen_vl_processor(hf.Qwen2_5_VLProcessor, hf.Qwen2VLVideoProcessor, tokenizer)
    return make_policy(hf.Qwen2_5_VLForConditionalGeneration, config), processor


def build_qwen3_vl(with_marker: bool = False) -> tuple[Any, Any]:
    """Qwen 3 VL: interleaved three-row positions; features of the first vision layer enter the first text layer."""

    import transformers as hf

    tokenizer = _qwen_vl_tokenizer(with_marker)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    config = hf.Qwen3VLConfig(
        vision_config={**_qwen_vision_settings(), "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        text_config={**text_settings(tokenizer), "head_dim": 8, "rope_parameters": rope},
        **_qwen_vl_settings(tokenizer),
    )
    processor = _qwen_vl_processor(hf.Qwen3VLProcessor, hf.Qwen3VLVideoProcessor, tokenizer)
    return make_policy(hf.Qwen3VLForConditionalGeneration, config), processor


def build_smolvlm(with_marker: bool = False) -> tuple[Any, Any]:
    """SmolVLM: as Idefics 3, in its own classes; the processor needs num2words too."""
    template = make_template("User: ", "<end_of_utterance>\n", "Assistant:", "<image>", "<|im_start|>")
    special = _idefics_special_tokens()
    tokenizer = make_tokenizer(
        "<|endoftext|>", "<end_of_utterance>", "<|im_start|>", False, special, None, template, with_marker
    )
    return _build_idefics("SmolVLM", tokenizer, "SmolVLMImageProcessor")
