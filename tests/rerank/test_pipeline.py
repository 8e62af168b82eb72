"""``pipeline("generate-and-rerank")`` with tiny models (their text is noise) and with the shipped nano models."""

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoModelForImageTextToText, pipeline

import mmprm_hf
from mmprm_hf.errors import RunStoppedError
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem

TASK = "generate-and-rerank"
from_pretrained = mmprm_hf.GenerateAndRerankPipeline.from_pretrained


@pytest.fixture(scope="module")
def tiny(tiny_policy_dir, tiny_prm_dir):
    return pipeline(TASK, model=tiny_policy_dir, prm=tiny_prm_dir)


@pytest.fixture(scope="module")
def nano():
    return pipeline(TASK, model=str(POLICY_PATH), prm=str(PRM_PATH))


def test_noise_is_incomplete_unscored_and_wins_nothing(tiny, figures):
    output = tiny(images=figures[0], text="What is A?", num_candidates=3, max_new_tokens=8, return_candidates=True)
    assert len(output["candidates"]) == 3
    assert output["chosen"] is None and output["answer"] is None
    assert all(row["score"] is None and not row["complete"] for row in output["candidates"])


def test_candidates_that_are_all_cut_are_a_warning(nano, tiny, caplog):
    problem = make_problem("clock", 2)
    nano(images=problem.figure(), text=problem.question, num_candidates=4, max_new_tokens=3)
    message = (
        "No complete candidate for 1 of 1 problems. Of their 4 candidates: 4 cut at the token limit. To change it, "
        "raise max_new_tokens=3."
    )
    assert caplog.messages[-1] == message
    caplog.clear()
    nano(images=problem.figure(), text=problem.question, num_candidates=4)
    assert not caplog.messages


def test_dtype_and_device_reach_policy_and_prm():
    options = {"prm": str(PRM_PATH), "dtype": "bfloat16", "device": "cpu"}
    for rerank in (pipeline(TASK, model=str(POLICY_PATH), **options), from_pretrained(POLICY_PATH, **options)):
        assert rerank.model.dtype == rerank.prm.dtype == torch.bfloat16
        assert rerank.model.device == rerank.prm.device == torch.device("cpu")


def test_a_pipeline_without_models_says_which():
    with pytest.raises(ValueError, match="has no default model. Give model=..., a policy, and prm=..."):
        pipeline(TASK)
    with pytest.raises(ValueError, match="has no default model. Give model=..., a PRM"):
        pipeline("process-reward")


def test_the_shipped_models_are_called_nano(nano, figures):
    call = {"images": figures[0], "text": "What is A?", "num_candidates": 2, "max_new_tokens": 8}
    call["return_candidates"] = True
    expected = nano(**call)["candidates"]
    for rerank in (
        pipeline(TASK, model="nano"),
        from_pretrained("nano"),
        from_pretrained(POLICY_PATH, prm="nano"),
    ):
        assert rerank(**call)["candidates"] == expected


def test_a_model_in_the_wrong_place_is_told_in_one_sentence(nano):
    policy, prm = nano.model, nano.prm
    for model, given, message in (
        (
            "no/such",
            prm,
            "The policy 'no/such' cannot be loaded: it is not a folder here, and the Hub does not give it",
        ),
        (
            "nano",
            "no/such",
            "The PRM 'no/such' cannot be loaded: it is not a folder here, and the Hub does not give it",
        ),
        (PRM_PATH, "nano", "prm' is a PRM, not a policy. Give it as the PRM, and a policy"),
        (prm, "nano", "Found a MMPRMModel as the policy of generate-and-rerank. Give it as prm="),
        ("nano", POLICY_PATH, "policy' is not a PRM: its model_type is 'llava', not 'mm_prm'"),
        ("nano", policy, "Found a Llava.* as the PRM of generate-and-rerank.* a policy goes into model="),
    ):
        with pytest.raises(ValueError, match=message) as failed:
            pipeline(TASK, model=model, prm=given)
        assert "\n" not in str(failed.value)


def test_nano_models_solve_score_and_choose(nano):
    problem = make_problem("bar_chart", 1)
    output = nano(images=problem.figure(), text=problem.question, num_candidates=8, return_candidates=True)
    assert len(output["candidates"]) == 8
    winner = output["candidates"][output["chosen"]]
    assert (output["text"], output["answer"], output["steps"]) == (winner["text"], winner["answer"], winner["steps"])
    for row in output["candidates"]:
        if row["complete"]:
            assert len(row["step_scores"]) == len(row["steps"]) >= 1
            assert all(0 <= score <= 1 for score in row["step_scores"])
            assert row["score"] == min(row["step_scores"])
            assert row["score"] <= winner["score"]


def test_same_seed_same_candidates_another_seed_others(nano):
    problem = make_problem("clock", 2)
    first, again, other = (
        nano(images=problem.figure(), text=problem.question, num_candidates=6, seed=seed, return_candidates=True)[
            "candidates"
        ]
        for seed in (1, 1, 2)
    )
    assert [c["text"] for c in first] == [c["text"] for c in again]
    assert [c["text"] for c in first] != [c["text"] for c in other]


def test_rows_in_lists_and_paths_of_figures(nano, tmp_path):
    problem = make_problem("rectangle", 4)
    path = tmp_path / "figure.png"
    problem.figure().save(path)
    rows = [{"images": str(path), "text": problem.question}, {"images": [problem.figure()], "text": problem.question}]
    first, second = nano(rows, num_candidates=4, strategy="majority_vote", return_candidates=True)
    assert [c["text"] for c in first["candidates"]] == [c["text"] for c in second["candidates"]]


def test_loaded_models_find_their_processors(tiny_policy_dir, tiny_prm_dir, figures):
    """``pipeline(task, model=policy, prm=prm)`` with objects gives what it gives with paths."""
    policy = AutoModelForImageTextToText.from_pretrained(tiny_policy_dir)
    prm = AutoModel.from_pretrained(tiny_prm_dir)
    call = {"images": figures[0], "text": "What is A?", "num_candidates": 2, "max_new_tokens": 6}
    call["return_candidates"] = True
    objects = pipeline(TASK, model=policy, prm=prm)(**call)
    paths = pipeline(TASK, model=tiny_policy_dir, prm=tiny_prm_dir)(**call)
    assert [c["text"] for c in objects["candidates"]] == [c["text"] for c in paths["candidates"]]


def test_models_built_in_memory_need_their_processors(tiny_policy, tiny_processor, tiny_policy_dir):
    prm_processor = MMPRMProcessor.from_policy(tiny_policy_dir)
    prm = MMPRMModel.from_policy(tiny_policy_dir, prm_processor)
    prm.name_or_path = ""
    with pytest.raises(ValueError, match="given without prm_processor"):
        pipeline(TASK, model=tiny_policy_dir, prm=prm)
    with pytest.raises(ValueError, match="given without processor"):
        pipeline(TASK, model=tiny_policy, prm=prm, prm_processor=prm_processor)
    assert pipeline(TASK, model=tiny_policy, processor=tiny_processor, prm=prm, prm_processor=prm_processor)


def test_a_processor_beside_a_prms_path_is_refused(tiny_policy_dir, tiny_prm_dir):
    processor = MMPRMProcessor.from_pretrained(tiny_prm_dir)
    with pytest.raises(ValueError, match="has its own. Leave prm_processor out"):
        pipeline(TASK, model=tiny_policy_dir, prm=tiny_prm_dir, prm_processor=processor)


def test_no_prm_and_a_checkpoint_that_is_none(tiny_policy_dir):
    with pytest.raises(ValueError, match="needs prm="):
        pipeline(TASK, model=tiny_policy_dir)
    with pytest.raises(ValueError, match="is not a PRM"):
        pipeline(TASK, model=tiny_policy_dir, prm=tiny_policy_dir)


def test_bad_input_is_refused_by_name(tiny, figures):
    for call, message in (
        ({"num_candidates": 0}, "Found num_candidates=0"),
        ({"num_candidates": "4"}, "Found num_candidates='4'"),
        ({"num_candidates": True}, "Found num_candidates=True"),
        ({"text": "  "}, "empty question"),
        ({"text": "Is <prm> good?"}, "control token '<prm>'"),
        ({"text": "Are <image> and <image> equal?"}, "Found 2 placeholders .'<image>'. in the question but 1 figure"),
        ({"images": "no/such/file.png"}, "no/such/file.png"),
        ({"strategy": "best"}, "Unknown strategy 'best'"),
        ({"aggregation": "mim"}, "Did you mean 'min'"),
        ({"num_candidate": 4}, "Unknown option 'num_candidate'"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(**{"images": figures[0], "text": "What is A?", "num_candidates": 1, "max_new_tokens": 2, **call})


def test_a_corrupt_image_is_refused(tiny, tmp_path):
    path = tmp_path / "broken.png"
    Image.new("RGB", (40, 40)).save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="broken.png"):
        tiny(images=str(path), text="What is A?", num_candidates=1, max_new_tokens=2)


def test_a_huge_image_is_refused(tiny, figures, monkeypatch, tmp_path):
    path = tmp_path / "huge.png"
    figures[0].save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses more than twice this
    with pytest.raises(ValueError, match="huge.png.*cannot be read"):
        tiny(images=str(path), text="What is A?", num_candidates=1, max_new_tokens=2)


def test_inputs_that_are_not_problems_are_refused(tiny):
    chat = [{"role": "user", "content": "q"}]
    for inputs, message in (
        (("What is A?",), "Found no text for 'What is A\\?'"),
        (({"images": None},), "Found the input {'images': None}"),
        (([7],), "Found the input 7"),
        ((), "neither images nor text"),
        ((["a.png"], ["q", "r"]), "Found 1 entries in images for 2 texts"),
        (("a.png", chat), "a chat as text beside images"),
        (([*chat, {"role": "assistant", "content": "a"}],), "the turns user, assistant"),
        (([{"role": "user", "content": [{"type": "video", "path": "a"}]}],), "a part of type 'video'"),
        (([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]}],), "without an image"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(*inputs)


def test_a_prm_that_gives_nan_stops_the_run_and_is_no_problems_error(tiny_policy_dir, tiny_prm_dir):
    """Also where errors of problems are returned: nothing is wrong with the problem."""
    broken = pipeline(TASK, model=str(POLICY_PATH), prm=str(PRM_PATH))
    with torch.no_grad():
        for parameter in broken.prm.score.parameters():
            parameter.fill_(float("nan"))
    problem = make_problem("bar_chart", 1)
    for strategy in ("best_of_n", "beam_search"):
        with pytest.raises(RunStoppedError, match="The PRM gives NaN as a step score"):
            broken([{"images": problem.figure(), "text": problem.question}], strategy=strategy, on_error="return")


def test_options_of_the_call_are_checked_together_with_those_of_the_pipeline(nano):
    wide = pipeline(TASK, model=str(POLICY_PATH), prm=str(PRM_PATH), num_candidates=4, strategy="dvts")
    problem = make_problem("bar_chart", 1)
    call = {"images": problem.figure(), "text": problem.question}
    assert wide(**call, beam_width=4)["answer"] is not None
    with pytest.raises(ValueError, match="Found beam_width=5 with num_candidates=4"):
        wide(**call, beam_width=5)
    for option, message in (({"temperature": "1"}, "They are numbers"), ({"seed": "abc"}, "Found seed='abc'")):
        with pytest.raises(ValueError, match=message):
            nano(**call, **option)
