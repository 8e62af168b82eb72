"""Converted checkpoints against outputs of published MM-PRM (`../shared/golden`): weights, scores, losses, gradients.

Tolerances are those of the golden files' README; the smallest typical mistake moves a score by 0.02.
"""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.original_internvl import GOLDEN, reference_image_features

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.families import convert_internvl, convert_internvl_model, convert_internvl_processor
from mmprm_hf.families.internvl_weights import original_key
from mmprm_hf.models import PROMPT_FORMATS, MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import LAYOUTS, PRMScorer
from mmprm_hf.training.prm_config import PRMConfig
from mmprm_hf.training.prm_trainer import PRMTrainer

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden files are not at {GOLDEN}")
SCORE_TOLERANCE = 2e-5
FOLDERS = ("internvl_internlm2", "internvl_qwen2")
CASES = (
    "c01_1patch_1step",
    "c02_2patch_3step",
    "c03_png_3patch_5step",
    "c04_png_1patch_unicode",
    "c05_image_placeholder_in_question",
    "c06_multiline_yesno_words",
    "c07_train_separator",
    "c08_two_images",
    "c09_unstripped_steps",
    "c10_no_steps",
)


@pytest.fixture(scope="module", params=FOLDERS)
def golden(request):
    """Golden files of a checkpoint, and our model of it."""
    folder = GOLDEN / request.param
    ids = json.loads((folder / "token_ids.json").read_text())
    roles = {"marker": "<prm>", "positive": "Yes", "negative": "No", "image": "<IMG_CONTEXT>"}
    scores = json.loads((folder / "golden_scores.json").read_text())
    return SimpleNamespace(
        folder=folder,
        name=request.param,
        ids=ids,
        cases={case["id"]: case for case in scores["cases"]},
        batches=scores["batches"],
        training=scores["training"],
        inputs=load_file(folder / "golden_inputs.safetensors"),
        intermediates=load_file(folder / "golden_intermediates.safetensors"),
        model=convert_internvl_model(folder, {role: ids[token] for role, token in roles.items()}),
    )


def tiles(golden, name):
    return golden.inputs[f"pixel_values/{name}"]


def score(golden, input_ids, attention_mask, pixel_values):
    with torch.no_grad():
        return golden.model(
            input_ids=torch.as_tensor(input_ids), attention_mask=attention_mask, pixel_values=pixel_values
        )


def assert_scores(ours, expected):
    torch.testing.assert_close(ours, torch.tensor(expected), atol=SCORE_TOLERANCE, rtol=0)


def test_image_features(golden):
    config = json.loads((golden.folder / "config.json").read_text())
    weights = load_file(golden.folder / "model.safetensors")
    names = [name.split("/")[1] for name in golden.intermediates if name.startswith("vit_embeds/")]
    assert len(names) == 7
    for name in names:
        expected = golden.intermediates[f"vit_embeds/{name}"]
        with torch.no_grad():
            ours = golden.model.vlm.get_image_features(pixel_values=tiles(golden, name), return_dict=True).pooler_output
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
        plain = reference_image_features(weights, config, tiles(golden, name))  # the reference of the 6B case below
        torch.testing.assert_close(plain, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case_id", CASES)
def test_cases(golden, case_id):
    case = golden.cases[case_id]
    output = score(golden, [case["input_ids"]], None, tiles(golden, case["pixel_values"]))
    assert_scores(output.step_scores()[0], case["scores"])
    expected = torch.tensor([case["yes_logit"], case["no_logit"]]).T
    torch.testing.assert_close(output.logits, expected, atol=5e-5, rtol=1e-5)


def test_no_case_is_left_out(golden):
    assert set(golden.cases) == set(CASES)


@pytest.mark.parametrize("tag", ["same_image", "empty_candidate_misaligned"])
def test_padded_batches(golden, tag):
    batch = golden.batches[tag]
    for call in batch["calls"]:
        num_rows = len(call["input_ids"])
        pixels = tiles(golden, batch["pixel_values"]).repeat(num_rows, 1, 1, 1)
        output = score(golden, call["input_ids"], torch.tensor(call["attention_mask"]), pixels)
        assert_scores(output.logits.softmax(-1)[:, 0], call["output"])


def test_a_batch_of_different_images(golden):
    batch = golden.batches["mixed_images"]
    pixels = torch.cat([tiles(golden, name) for name in batch["pixel_values"]])
    output = score(golden, batch["input_ids"], torch.tensor(batch["attention_mask"]), pixels)
    assert_scores(output.logits.softmax(-1)[:, 0], batch["output"])


def training_batch(golden, tag):
    prefix = f"train_{tag.replace('qwen2_bang_token_masked', 'bang')}/"
    names = ("input_ids", "labels", "attention_mask", "position_ids", "pixel_values")
    return {name: golden.inputs[prefix + name] for name in names}


def original_gradients(golden):
    """Norm of our gradients under the original's names; fused matrices are put together again."""
    architecture = json.loads((golden.folder / "config.json").read_text())["llm_config"]["architectures"][0]
    head = "language_model.output.weight" if "InternLM2" in architecture else "language_model.lm_head.weight"
    squares = {}
    for name, parameter in golden.model.named_parameters():
        key = head if name == "score.weight" else original_key(name, architecture)
        squares[key] = squares.get(key, 0.0) + parameter.grad.double().pow(2).sum().item()
    return {key: square**0.5 for key, square in squares.items()}


@pytest.mark.parametrize("tag", ["main", "one_problem", "qwen2_bang_token_masked"])
def test_losses_and_gradients(golden, tag):
    if tag not in golden.training:
        pytest.skip(f"{golden.name} has no batch with id 0 in its text")
    expected = golden.training[tag]
    golden.model.zero_grad()
    output = golden.model(**training_batch(golden, tag))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    norms = original_gradients(golden)
    assert norms == pytest.approx(expected["grad_norms"], rel=1e-4)
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert total == pytest.approx(expected["grad_norm_total"], rel=1e-4)


def test_whole_gradients_of_fused_matrices(golden):
    golden.model.zero_grad()
    golden.model(**training_batch(golden, "main")).loss.backward()
    attention = golden.model.vlm.vision_tower.encoder.layer[0].attention
    qkv = torch.cat([part.weight.grad for part in (attention.q_proj, attention.k_proj, attention.v_proj)])
    prefix = "train_main/grad/"
    expected = golden.intermediates[prefix + "vision_model.encoder.layers.0.attn.qkv.weight"]
    torch.testing.assert_close(qkv, expected, atol=1e-6, rtol=1e-4)
    key = prefix + "language_model.model.layers.1.attention.wqkv.weight"
    if key in golden.intermediates:
        attention = golden.model.vlm.language_model.layers[1].self_attn
        query, key_rows, value = (p.weight.grad for p in (attention.q_proj, attention.k_proj, attention.v_proj))
        rows = [query.view(2, 2, 16, 64), key_rows.view(2, 1, 16, 64), value.view(2, 1, 16, 64)]
        torch.testing.assert_close(
            torch.cat(rows, dim=1).flatten(0, 2), golden.intermediates[key], atol=1e-6, rtol=1e-4
        )


class QueuedTiles:
    """In place of the image processor: returns the golden tiles, one image after the other."""

    def __init__(self, queue):
        self.queue = list(queue)

    def __call__(self, images, return_tensors):
        return {"pixel_values": self.queue.pop(0)}


def with_tiles(processor, *queue):
    processor.base_processor.image_processor = QueuedTiles(queue)
    return processor


@pytest.mark.parametrize("case_id", CASES[:-1])  # an empty list of steps has no marker here
def test_evaluation_format_writes_the_published_ids(golden, case_id):
    case = golden.cases[case_id]
    processor = convert_internvl_processor(golden.folder, "reference_eval")
    if case_id == "c07_train_separator":
        prompt = dataclasses.replace(PROMPT_FORMATS["reference_eval"], step_separator="\n\n")
        processor = MMPRMProcessor(processor.base_processor, **dataclasses.asdict(prompt))
    images = tiles(golden, case["pixel_values"]).split(case["num_patches_list"])
    batch = with_tiles(processor, *images)(
        images=[Image.new("RGB", (8, 8))] * len(images), text=case["question"], steps=case["steps"]
    )
    last_marker = case["prm_positions"][-1]
    assert batch["input_ids"][0].tolist() == case["input_ids"][: last_marker + 1]
    with torch.no_grad():
        assert_scores(golden.model(**batch).step_scores()[0], case["scores"])


@pytest.mark.parametrize("tag", ["main", "one_problem", "qwen2_bang_token_masked"])
def test_training_format_writes_the_published_ids_and_masks_no_text(golden, tag):
    if tag not in golden.training:
        pytest.skip(f"{golden.name} has no batch with id 0 in its text")
    expected = training_batch(golden, tag)
    rows = golden.training[tag]["rows"]
    questions, steps = zip(*(split_conversation(row) for row in rows), strict=True)
    processor = convert_internvl_processor(golden.folder, "train")
    names = [row["pixel_values"] for row in rows]
    batch = with_tiles(processor, *(tiles(golden, name) for name in names))(
        images=[[Image.new("RGB", (8, 8))]] * len(rows), text=list(questions), steps=list(steps)
    )
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    for index in range(len(rows)):
        end = (expected["input_ids"][index] == golden.ids["<prm>"]).nonzero()[-1].item() + 1
        assert batch["input_ids"][index][batch["attention_mask"][index].bool()].tolist() == (
            expected["input_ids"][index][:end].tolist()
        )
    labels = torch.full(batch["input_ids"].shape, -100.0)
    labels[batch["input_ids"] == golden.ids["<prm>"]] = torch.tensor(golden.training[tag]["prm_labels"])
    with torch.no_grad():
        loss = golden.model(**batch, labels=labels).loss.item()
    if tag != "qwen2_bang_token_masked":
        assert loss == pytest.approx(golden.training[tag]["loss"], rel=1e-5)
        return
    # Differs from MM-PRM: "!" has id 0 in Qwen2; the published collator masks it as padding, we do not.
    assert golden.ids["id0"] == "!" and (batch["input_ids"][batch["attention_mask"].bool()] == 0).any()
    alone = [
        golden.model(
            input_ids=batch["input_ids"][i : i + 1][:, batch["attention_mask"][i].bool()],
            pixel_values=expected["pixel_values"][i : i + 1],
        ).step_scores()[0]
        for i in range(len(rows))
    ]
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(golden.model(**batch).step_scores()), torch.cat(alone), atol=1e-5, rtol=0)
    assert abs(loss - golden.training[tag]["loss"]) > 1e-3


def split_conversation(row):
    """Question and segments of a published training row."""
    question, process = row["conversations"][0]["value"].removeprefix("Question: ").split("\nProcess: ")
    segments = process.removesuffix("<prm>").split("<prm>\n\n")
    assert len(segments) == len(row["conversations"][1]["value"])
    return question, segments


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory):
    """Our checkpoint folder of the golden one."""
    folder = tmp_path_factory.mktemp(golden.name)
    facts = convert_internvl(golden.folder, folder, prompt_format="reference_eval")
    assert facts["marker_token_id"] == golden.ids["<prm>"]
    return folder


def test_from_the_png_to_the_scores(golden, folder):
    processor = MMPRMProcessor.from_pretrained(folder)
    for case_id, name in (("c03_png_3patch_5step", "wide120x60"), ("c04_png_1patch_unicode", "sq60")):
        case = golden.cases[case_id]
        image = Image.open(GOLDEN / "images" / f"{name}.png")
        batch = processor(images=image, text=case["question"], steps=case["steps"])
        with torch.no_grad():
            assert_scores(golden.model(**batch).step_scores()[0], case["scores"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scorer(golden, folder, layout):
    """From the saved folder, with candidates that share steps and one that has none."""
    scorer = PRMScorer(MMPRMModel.from_pretrained(folder), MMPRMProcessor.from_pretrained(folder), layout=layout)
    batch = golden.batches["empty_candidate_misaligned"]
    problem = Problem(id="p", question=batch["question"], images=(Image.open(GOLDEN / "images" / "wide120x60.png"),))
    scored = scorer.score(problem, [Candidate(steps=tuple(steps)) for steps in batch["candidates"]])
    # Differs from MM-PRM: its empty candidate takes the first score of the one that follows.
    assert scored[1].step_scores is None and batch["correct_alignment"][1] == []
    for candidate, expected in zip(scored, batch["correct_alignment"], strict=True):
        if expected:
            assert candidate.step_scores == pytest.approx(expected, abs=SCORE_TOLERANCE)


class TilesByWidth:
    """In place of the image processor: returns the golden tiles of an image of that width."""

    def __init__(self, tiles_of_width):
        self.tiles_of_width = tiles_of_width

    def __call__(self, images, return_tensors):
        return {"pixel_values": self.tiles_of_width[getattr(images, "size", None) and images.size[0]]}


def trainer_of(golden, tag, tmp_path, **options):
    """A trainer on a golden training case, each figure known by its width."""
    expected = golden.training[tag]
    names = sorted({row["pixel_values"] for row in expected["rows"]})
    processor = convert_internvl_processor(golden.folder, "train")
    tiles_of_width = {8 + index: tiles(golden, name) for index, name in enumerate(names)}
    processor.base_processor.image_processor = TilesByWidth(tiles_of_width)
    labels = iter(expected["prm_labels"])
    rows = []
    for row in expected["rows"]:
        question, segments = split_conversation(row)
        image = Image.new("RGB", (8 + names.index(row["pixel_values"]), 8))
        targets = [next(labels) for _ in segments]
        rows.append({"prompt": question, "completions": segments, "labels": targets, "images": [image]})
        rows[-1]["problem_id"] = f"{question} {row['pixel_values']}"
    common = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "freeze_vision": False}
    args = PRMConfig(output_dir=str(tmp_path), max_length=None, **common, **options)
    return PRMTrainer(golden.model, args, train_dataset=rows, processing_class=processor)


@pytest.mark.parametrize("packing", [False, True], ids=["rows", "packed"])
@pytest.mark.parametrize("tag", ["main", "one_problem"])
def test_the_trainers_collator_and_loss_give_the_published_loss_and_gradients(golden, tmp_path, tag, packing):
    trainer = trainer_of(golden, tag, tmp_path, packing=packing, per_device_train_batch_size=8)
    expected = golden.training[tag]
    assert trainer.data.is_packed is packing
    if packing and tag == "one_problem":
        assert len(trainer.train_dataset) == 1 and trainer.data.num_tokens["trained"] < trainer.data.num_tokens["raw"]
    golden.model.zero_grad()
    (batch,), divisor = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, torch.device("cpu"))
    assert divisor.item() == len(expected["prm_labels"])
    loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch), num_items_in_batch=divisor)
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    norms = original_gradients(golden)
    assert norms == pytest.approx(expected["grad_norms"], rel=1e-4)
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    assert total == pytest.approx(expected["grad_norm_total"], rel=1e-4)
