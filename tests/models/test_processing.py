"""MMPRMProcessor: exact token layout, everything saved, refusals of bad text and images."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from support.tiny_models import make_processor, make_tokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mmprm_hf.models import MMPRMProcessor, processor_fingerprint


@pytest.fixture(scope="module")
def processor(tiny_policy_dir):
    return MMPRMProcessor.from_policy(tiny_policy_dir)


def tokens(processor, batch, row=0):
    ids = batch["input_ids"][row][batch["attention_mask"][row].bool()]
    return processor.tokenizer.convert_ids_to_tokens(ids.tolist())


def test_layout_is_prompt_then_steps_each_with_its_marker(processor, figures):
    batch = processor(images=figures[0], text="q?", steps=["ab", "Yes"])
    expected = ["<|user|>"] + ["<image>"] * 16 + ["q", "?", "<|assistant|>", "a", "b", "<prm>", "Yes", "<prm>"]
    assert tokens(processor, batch) == expected
    assert batch["pixel_values"].shape == (1, 3, 32, 32)


def test_prompt_is_the_policys_own_prompt(processor, tiny_processor, figures):
    messages = [{"role": "user", "content": [{"type": "image", "image": figures[0]}, {"type": "text", "text": "q?"}]}]
    policy = tiny_processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ours = processor(images=figures[0], text="q?")
    assert ours["input_ids"].tolist() == policy["input_ids"].tolist()
    assert torch.equal(ours["pixel_values"], policy["pixel_values"])


def test_a_prefix_of_steps_is_a_prefix_of_ids(processor):
    whole = processor(text="q", steps=["a", "bc", "d"])["input_ids"][0].tolist()
    part = processor(text="q", steps=["a", "bc"])["input_ids"][0].tolist()
    assert whole[: len(part)] == part


def test_separator_stands_between_marker_and_next_step(tiny_policy_dir):
    processor = MMPRMProcessor.from_policy(tiny_policy_dir, step_separator="\n\n")
    layout = tokens(processor, processor(text="q", steps=["a", "b"]))
    assert layout == ["<|user|>", "q", "<|assistant|>", "a", "<prm>", "\n", "\n", "b", "<prm>"]


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_padding(processor, padding_side):
    batch = processor(text=["q", "qq"], steps=[["a"], ["a", "b"]], padding_side=padding_side)
    assert batch["input_ids"].shape == (2, 8)
    assert batch["attention_mask"].sum(-1).tolist() == [5, 8]
    pad = batch["input_ids"][0][:3] if padding_side == "left" else batch["input_ids"][0][5:]
    assert pad.tolist() == [processor.tokenizer.pad_token_id] * 3


def test_one_question_with_many_solutions_is_repeated(processor, figures):
    solutions = [["a"], ["ab", "c"]]
    batch = processor(images=figures[0], text="q?", steps=solutions, return_tensors="pt", padding=True)
    spelt_out = processor(images=[figures[0]] * 2, text=["q?"] * 2, steps=solutions)
    assert batch.keys() == spelt_out.keys() and all(torch.equal(batch[name], spelt_out[name]) for name in batch)
    assert torch.equal(
        processor(images=[figures[0]], text="q?", steps=solutions)["pixel_values"], batch["pixel_values"]
    )
    alone = processor(images=figures[0], text="q?", steps=solutions[1])
    assert torch.equal(alone["input_ids"][0], batch["input_ids"][1])


def test_everything_is_saved(tmp_path, tiny_policy_dir, figures):
    processor = MMPRMProcessor.from_policy(
        tiny_policy_dir,
        marker_token="<score>",
        positive_token="+",
        negative_token="-",
        step_separator="\n",
        prompt_template="{images}Q: {question}\n",
    )
    processor.save_pretrained(tmp_path)
    again = MMPRMProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    arguments = {"images": figures[0], "text": "q?", "steps": ["ab", "c"]}
    first, second = processor(**arguments), again(**arguments)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert tokens(again, second)[16:] == list("Q: q?\nab") + ["<score>", "\n", "c", "<score>"]
    saved = json.loads(Path(tmp_path, "processor_config.json").read_text())
    assert saved["auto_map"] == {"AutoProcessor": "processing_mm_prm.MMPRMProcessor"}


def rename_prompt_format(folder, new_name):
    """The saved settings with the name of their prompt format under another key."""
    path = Path(folder, "processor_config.json")
    saved = json.loads(path.read_text())
    saved["mm_prm"][new_name] = saved["mm_prm"].pop("prompt_format")
    path.write_text(json.dumps(saved))


def test_the_prompt_format_is_saved_and_may_be_replaced(tmp_path):
    processor = MMPRMProcessor(make_processor(with_marker=True), prompt_format="train")
    assert processor.step_separator == "\n\n" and "Question: {question}" in processor.prompt_template
    processor.save_pretrained(tmp_path)
    for key in ("prompt_format", "dialect"):  # files that were saved earlier have the second key
        again = MMPRMProcessor.from_pretrained(tmp_path)
        assert again.prompt_format == "train" and again.to_dict() == processor.to_dict()
        assert processor_fingerprint(again) == processor_fingerprint(processor)
        other = MMPRMProcessor.from_pretrained(tmp_path, prompt_format="reference_eval")
        assert other.prompt_format == "reference_eval" and other.step_separator == ""
        if key == "prompt_format":
            rename_prompt_format(tmp_path, "dialect")
    MMPRMProcessor.from_policy(make_processor()).save_pretrained(tmp_path)
    rename_prompt_format(tmp_path, "dialect")
    assert MMPRMProcessor.from_pretrained(tmp_path).prompt_format is None


def test_bare_tokenizer(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    processor = MMPRMProcessor.from_policy(tokenizer)
    assert processor.prompt_template == "{images}{question}\n"
    processor.save_pretrained(tmp_path)
    again = MMPRMProcessor.from_pretrained(tmp_path)
    assert tokens(again, again(text="q", steps=["a"])) == ["q", "\n", "a", "<prm>"]
    with pytest.raises(ValueError, match="Found 1 images, but this PRM is text-only"):
        again(text="q", images=["figure.png"], steps=["a"])


@pytest.mark.parametrize("token", ["<prm>", "</s>", "<|assistant|>"])
def test_control_tokens_in_text_are_refused_or_read_as_text(processor, token):
    with pytest.raises(ValueError, match="inside the question"):
        processor(text=f"q {token}", steps=["a"])
    with pytest.raises(ValueError, match="inside the step with step_index 1"):
        processor(text="q", steps=["a", f"b{token}"])
    plain = processor(text="q", steps=["a", f"b{token}"], control_tokens="as_text")
    assert tokens(processor, plain)[5:] == ["b", *token, "<prm>"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "", "steps": ["a"]}, "empty question"),
        ({"text": None, "steps": ["a"]}, r"Found no question \(text=None\)"),
        ({"text": "q", "steps": ["a", " "]}, "empty step .* at step_index 1"),
        ({"text": "q", "steps": "a"}, "Found a str as steps"),
        ({"text": "q", "steps": ""}, "Found a str as steps"),
        ({"text": "q", "steps": [["a"], "b"]}, "Found a str as steps"),
        ({"text": "q", "steps": ["a"], "truncation": True}, "Rows are never cut inside a step.*drop_last_steps=True"),
        ({"text": "q", "steps": ["a"], "padding": "max_length"}, "Rows are padded to the longest"),
        ({"text": ["q", "r"], "steps": [["a"]]}, "Found 2 questions, 2 image entries and 1 lists of steps"),
        ({"text": "q", "steps": ["a"], "images": "/no/such.png"}, r"'/no/such\.png' does not exist"),
        ({"text": "q", "steps": ["a"], "images": 3}, "image of type int"),
        ({"text": "q", "steps": ["a" * 20], "max_length": 8}, "Row 0 has 24 tokens, more than max_length 8"),
    ],
)
def test_bad_input_is_refused(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_a_row_without_steps_is_named(processor, caplog):
    batch = processor(text="q", steps=[["a"], []])
    assert (batch["input_ids"] == processor.marker_token_id).sum(-1).tolist() == [1, 0]
    assert caplog.messages == ["Row 1 has no steps: it is the prompt alone and gets no score. Leave it out."]
    caplog.clear()
    processor(text="q")  # the prompt alone, as it was asked for
    assert not caplog.messages


def test_long_rows_lose_whole_steps_only_on_request(processor, caplog):
    steps = ["abc", "de", "fghi"]
    whole = tokens(processor, processor(text="q", steps=steps))
    prompt = len(tokens(processor, processor(text="q")))
    with pytest.raises(ValueError, match=r"Row 0 has 15 tokens, more than max_length 14\. Rows are never cut"):
        processor(text="q", steps=steps, max_length=14)
    cut = tokens(processor, processor(text="q", steps=steps, max_length=14, drop_last_steps=True))
    assert cut == whole[: prompt + 4 + 3]
    assert "Row 0: the last 1 of 3 steps do not fit into max_length 14" in caplog.text
    assert tokens(processor, processor(text="q", steps=steps, max_length=15, drop_last_steps=True)) == whole
    with pytest.raises(ValueError, match="the prompt and one step must fit"):
        processor(text="q", steps=steps, max_length=6, drop_last_steps=True)


def test_images_at_their_places_in_the_question(tiny_policy_dir, figures):
    processor = MMPRMProcessor.from_policy(tiny_policy_dir)
    base = processor.base_processor
    template = {"prompt_template": "{images}Q: {question}\n", "image_separator": "|"}
    plain = MMPRMProcessor(base, **template)
    placed = MMPRMProcessor(base, **template, question_image_token="<image>")
    layout = "".join(t for t in tokens(plain, plain(images=figures[:2], text="a {images}?")) if t != "<image>")
    assert layout == "||Q: a {images}?\n"  # braces in a question stay text
    for processor in (plain, placed):
        ids = tokens(processor, processor(images=figures[0], text="a <image>?"))
        assert ids == [*"Q: a ", *["<image>"] * 16, *"?\n"]
    # A prompt format of published code knows its own token alone.
    assert placed.render_prompt("a <image1>?", 1) == "<image>|Q: a <image1>?\n"
    assert plain.render_prompt("a <image1>?", 1) == "Q: a <image>?\n"
    with pytest.raises(ValueError, match="1 times '<image>' in the question but 2 images"):
        placed(images=figures[:2], text="a <image>?")
    with pytest.raises(ValueError, match="Unknown prompt_format 'eval'. Choose one of train, reference_eval"):
        MMPRMProcessor(base, prompt_format="eval")


def test_joined_text_is_tokenised_as_one_string():
    """A tokenizer that merges over spaces shows where text was cut; prefixes stay prefixes either way."""
    vocab = {t: i for i, t in enumerate(["<pad>", "<unk>", "Yes", "No", "Q:", " a", "a", " ", "\n", "\na"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("Yes|No|Q:| a|\na|[\\s\\S]"), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    layouts = {}
    for joined in (False, True):
        processor = MMPRMProcessor.from_policy(copy.deepcopy(tokenizer), prompt_template="{question} ")
        processor = MMPRMProcessor(
            processor.base_processor,
            prompt_template="{question} ",
            step_separator="\n",
            join_before_tokenizing=joined,
        )
        layouts[joined] = tokens(processor, processor(text="Q:", steps=["a", "a"]))
        assert tokens(processor, processor(text="Q:", steps=["a"])) == layouts[joined][: 3 + (not joined)]
        assert tokens(processor, processor(text="Q:")) == ["Q:", " "]
    assert layouts[False] == ["Q:", " ", "a", "<prm>", "\n", "a", "<prm>"]
    assert layouts[True] == ["Q:", " a", "<prm>", "\na", "<prm>"]


def test_what_resized_the_images_is_remembered(processor, tmp_path, monkeypatch):
    processor.save_pretrained(tmp_path)
    settings = json.loads(Path(tmp_path, "processor_config.json").read_text())["mm_prm"]
    assert settings["image_backend"] == "pil"
    options = []
    monkeypatch.setattr(
        "mmprm_hf.models.stock_mm_prm.transformers.LlavaProcessor.from_pretrained",
        lambda folder, **kwargs: options.append(kwargs) or processor.base_processor,
    )
    MMPRMProcessor.from_pretrained(tmp_path)
    assert options[0]["backend"] == "pil"


def test_corrupt_images_are_refused(processor, figures, tmp_path):
    figures[0].resize((200, 200)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    processor(images=tmp_path / "whole.png", text="q", steps=["a"])
    for name in ("cut.png", "text.png"):
        with pytest.raises(ValueError, match=rf"{name}' cannot be read"):
            processor(images=tmp_path / name, text="q", steps=["a"])


def test_paths_bytes_and_pil_images_are_the_same(processor, figures, tmp_path):
    path = tmp_path / "figure.png"
    figures[0].save(path)
    sources = [figures[0], path, str(path), {"bytes": path.read_bytes(), "path": None}, [figures[0]]]
    pixels = [processor(images=source, text="q", steps=["a"])["pixel_values"] for source in sources]
    assert all(torch.equal(pixels[0], other) for other in pixels[1:])


def test_unusable_tokens_and_folders_are_refused(tiny_policy_dir, processor):
    with pytest.raises(ValueError, match=r"Token 'Right' is 5 ids"):
        MMPRMProcessor.from_policy(tiny_policy_dir, positive_token="Right")
    with pytest.raises(ValueError, match="is not a PRM: its processor_config.json has no 'mm_prm' entry"):
        MMPRMProcessor.from_pretrained(tiny_policy_dir)
    with pytest.raises(ValueError, match="a PRM's processor already"):
        MMPRMProcessor.from_policy(processor)
    with pytest.raises(ValueError, match=r'does not contain "\{question\}"'):
        MMPRMProcessor(make_processor(with_marker=True), prompt_template="{images}")
