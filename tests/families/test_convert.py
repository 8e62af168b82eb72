"""The converter on tiny originals made in code: both vision styles, shards, tied heads, refusals, round trips."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.original_internvl import HEAD, reference_image_features, write_original
from support.tiny_models import make_figure, make_tokenizer
from typer.testing import CliRunner

from mmprm_hf.cli import app
from mmprm_hf.families.internvl import (
    convert_internvl,
    convert_internvl_model,
    convert_internvl_processor,
    read_original_config,
)
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.models.tiled_processing_mm_prm import MMPRMTiledProcessor

ARCHITECTURES = tuple(HEAD)
STEPS = ["x = 2 + 3", "so x = 5"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Folder of an InternLM2 original, with its config and weights. Do not change it: write another."""
    folder = tmp_path_factory.mktemp("original")
    return folder, *write_original(folder)


@pytest.fixture(scope="module")
def converted(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert_internvl(original[0], folder)
    return folder


def token_ids(folder):
    processor = convert_internvl_processor(folder)
    ids = (processor.marker_token_id, processor.positive_token_id, processor.negative_token_id)
    return dict(zip(("marker", "positive", "negative"), ids, strict=True)) | {
        "image": processor.base_processor.image_token_id
    }


def logits(model, processor, images=None):
    batch = processor(images=images, text="What is x?", steps=STEPS)
    with torch.no_grad():
        return model(**batch).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("is_6b", [False, True])
def test_image_features_equal_the_plain_reference(tmp_path, architecture, is_6b):
    config, weights = write_original(tmp_path, architecture, is_6b)
    assert ("vision_model.encoder.layers.0.attn.q_norm.weight" in weights) == is_6b
    model = convert_internvl_model(tmp_path, token_ids(tmp_path))
    pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    expected = reference_image_features(weights, config, pixels)
    with torch.no_grad():
        ours = model.vlm.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)
    assert model.training is False and not any(buffer.is_meta for buffer in model.buffers())


def test_query_and_key_norms_matter(tmp_path):
    config, weights = write_original(tmp_path, is_6b=True)
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    without = {name: value for name, value in weights.items() if "q_norm" not in name and "k_norm" not in name}
    difference = reference_image_features(weights, config, pixels) - reference_image_features(without, config, pixels)
    assert difference.abs().max() > 0.01


@pytest.mark.parametrize("images", [None, [make_figure(0)], [make_figure(0), make_figure(1)]], ids=["0", "1", "2"])
def test_saved_reloaded_and_batched_give_the_same_scores(original, converted, images):
    model = convert_internvl_model(original[0], token_ids(original[0]))
    expected = logits(model, convert_internvl_processor(original[0]), images)
    again, processor = MMPRMModel.from_pretrained(converted), MMPRMProcessor.from_pretrained(converted)
    assert isinstance(processor.base_processor, MMPRMTiledProcessor)
    torch.testing.assert_close(logits(again, processor, images), expected)
    rows = [images, [make_figure(3)], None]
    batch = processor(images=rows, text=["What is x?"] * 3, steps=[STEPS] * 3, padding_side="left")
    with torch.no_grad():
        together = again(**batch).logits
    torch.testing.assert_close(together[:2], expected, atol=1e-5, rtol=1e-5)
    assert (together[:2] - together[2:4]).abs().max() > 1e-3  # the figures are seen


def test_image_order_and_number_matter(original):
    model = convert_internvl_model(original[0], token_ids(original[0]))
    processor = convert_internvl_processor(original[0])
    first, second = make_figure(0), make_figure(1)
    results = [logits(model, processor, images) for images in ([first, second], [second, first], [first])]
    assert min((a - b).abs().max() for a, b in zip(results, results[1:], strict=False)) > 1e-3


def test_shards_give_the_same_model(original, tmp_path):
    folder, _, weights = original
    whole = convert_internvl_model(folder, token_ids(folder)).state_dict()
    write_original(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, keys in shards.items():
        save_file({key: weights[key] for key in keys}, tmp_path / shard)
    index = {"metadata": {}, "weight_map": {key: shard for shard, keys in shards.items() for key in keys}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    state = convert_internvl_model(tmp_path, token_ids(tmp_path)).state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.items())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks \['model-00002-of-00002\.safetensors'\]"):
        convert_internvl_model(tmp_path, token_ids(tmp_path))


def test_the_dtype_is_kept(tmp_path):
    _, weights = write_original(tmp_path)
    half = {name: value.to(torch.bfloat16) for name, value in weights.items()}
    save_file(half, tmp_path / "model.safetensors")
    model = convert_internvl_model(tmp_path, token_ids(tmp_path))
    assert {parameter.dtype for parameter in model.vlm.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.score.parameters()} == {torch.float32}
    key = "language_model.model.tok_embeddings.weight"
    assert torch.equal(model.get_input_embeddings().weight, half[key])
    model.save_pretrained(tmp_path / "saved")
    assert MMPRMModel.from_pretrained(tmp_path / "saved").dtype == torch.bfloat16
    save_file(half | {key: weights[key]}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"dtypes \['torch.bfloat16', 'torch.float32'\], expected one"):
        convert_internvl_model(tmp_path, token_ids(tmp_path))


def test_a_tied_head_may_be_absent(tmp_path):
    architecture = "Qwen2ForCausalLM"
    _, weights = write_original(tmp_path, architecture, changes={"llm_config": {"tie_word_embeddings": True}})
    ids = token_ids(tmp_path)
    rows = [ids["positive"], ids["negative"]]
    untied = convert_internvl_model(tmp_path, ids)
    assert torch.equal(untied.score.weight, weights[HEAD[architecture]][rows])
    del weights[HEAD[architecture]]
    save_file(weights, tmp_path / "model.safetensors")
    tied = convert_internvl_model(tmp_path, ids)
    assert torch.equal(tied.score.weight, weights["language_model.model.embed_tokens.weight"][rows])
    write_original(tmp_path, architecture)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"1 missing: language_model\.lm_head\.weight"):
        convert_internvl_model(tmp_path, ids)


def test_rope_scaling_is_kept(original):
    config = convert_internvl_model(original[0], token_ids(original[0])).config.get_text_config()
    assert config.rope_parameters == {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1000000}
    assert config.max_position_embeddings == 32768


def test_missing_extra_and_ill_shaped_keys_are_listed(original, tmp_path):
    write_original(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["mlp1.3.bias"], weights["vision_model.encoder.layers.1.ls2"]
    weights["language_model.model.layers.7.ffn_norm.weight"] = torch.ones(64)
    weights["mlp1.1.bias"] = torch.ones(65)
    wqkv = "language_model.model.layers.0.attention.wqkv.weight"
    weights[wqkv] = weights[wqkv][:-16].clone()
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError) as error:  # noqa: PT011
        convert_internvl_model(tmp_path, token_ids(tmp_path))
    message = str(error.value)
    assert "2 missing: mlp1.3.bias, vision_model.encoder.layers.1.ls2;" in message
    assert "1 extra: language_model.model.layers.7.ffn_norm.weight;" in message
    assert f"2 of another shape: {wqkv} (112, 64) instead of (128, 64), mlp1.1.bias (65,) instead of (64,)." in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llava"}, "model_type is 'llava', expected 'internvl_chat'"),
        ({"ps_version": "v1"}, "ps_version = 'v1' .* supported is 'v2'"),
        ({"select_layer": -2}, "select_layer = -2 .* supported is -1"),
        ({"use_llm_lora": 16}, "use_llm_lora = 16 .* Merge adapters"),
        ({"force_image_size": 112}, "force_image_size = 112 .* supported is 56"),
        ({"llm_config": {"architectures": ["GPT2LMHeadModel"]}}, "architectures = 'GPT2LMHeadModel'"),
        ({"vision_config": {"qk_normalization": True, "layer_norm_eps": 1e-5}}, "layer_norm_eps .* = 1e-05"),
        ({"template": "internlm2-chat"}, "template = 'internlm2-chat' .* supported is 'internvl2_5'"),
        ({"use_thumbnail": False}, "use_thumbnail = False .* supported is True"),
        ({"pad2square": True}, "pad2square = True .* supported is False"),
        ({"llm_config": {"vocab_size": 50}}, r"The tokenizer has \d+ tokens, the embedding 50 rows"),
    ],
)
def test_what_cannot_be_represented_is_refused(tmp_path, changes, message):
    write_original(tmp_path / "source", changes=changes)
    with pytest.raises(ValueError, match=message):
        convert_internvl(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_refusals(original, tmp_path):
    folder = original[0]
    with pytest.raises(ValueError, match="has no config.json"):
        read_original_config(tmp_path)
    with pytest.raises(ValueError, match="are the same folder"):
        convert_internvl(folder, folder)
    with pytest.raises(ValueError, match="Unknown prompt_format 'eval'. Choose one of train, reference_eval"):
        convert_internvl(folder, tmp_path / "out", prompt_format="eval")
    with pytest.raises(ValueError, match="lacks the step marker '<prm>': this is not a PRM"):
        convert_internvl(folder, tmp_path / "out", tokenizer=make_tokenizer())
    with pytest.raises(ValueError, match=r"lacks \['<img>', '<IMG_CONTEXT>', '</img>'\]"):
        convert_internvl(folder, tmp_path / "out", tokenizer=make_tokenizer(with_marker=True))
    with pytest.raises(ValueError, match=r"Token ids \{'marker': 9999\} do not fit"):
        convert_internvl_model(folder, token_ids(folder) | {"marker": 9999})
    config = json.loads((folder / "config.json").read_text())
    del config["llm_config"]["rope_theta"]
    write_original(tmp_path / "bare")
    (tmp_path / "bare" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"llm_config lacks \['rope_theta'\]"):
        convert_internvl(tmp_path / "bare", tmp_path / "out")


def test_command_line(original, converted, tmp_path):
    result = CliRunner().invoke(
        app, ["convert", str(original[0]), "--output", str(tmp_path / "out"), "--prompt-format", "reference_eval"]
    )
    assert result.exit_code == 0, result.output
    assert "backbone: internvl with llama" in result.output and "prompt_format: reference_eval" in result.output
    processor = MMPRMProcessor.from_pretrained(tmp_path / "out")
    assert processor.prompt_format == "reference_eval"
    assert MMPRMProcessor.from_pretrained(converted).prompt_format == "train"
    assert str(original[0]) not in "".join(path.read_text() for path in (tmp_path / "out").glob("*.json"))
