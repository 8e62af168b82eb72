"""Importing the package is cheap, and afterwards transformers' own Auto classes and pipeline know it."""

import importlib
import subprocess
import sys

import pytest
import transformers

import mmprm_hf
from mmprm_hf.nano import POLICY_PATH, PRM_PATH

TASK = "generate-and-rerank"


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_import_brings_in_neither_torch_nor_transformers():
    assert run("import sys, mmprm_hf; print({'torch', 'transformers'} & set(sys.modules))") == "set()"


@pytest.mark.processes
@pytest.mark.parametrize(
    "first",
    [
        "import mmprm_hf, transformers",
        "from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline\nimport mmprm_hf",
        "import mmprm_hf\nfrom transformers.processing_utils import ProcessorMixin",
        "from mmprm_hf import PRMTrainer",
    ],
    ids=["we first", "transformers first", "half of transformers first", "trl first"],
)
def test_auto_classes_and_pipeline_know_us_whatever_is_imported_first(first):
    code = (
        f"{first}\n"
        "from transformers import AutoConfig, AutoModel, AutoProcessor, MODEL_MAPPING, PROCESSOR_MAPPING\n"
        "from transformers.pipelines import check_task\n"
        "config = AutoConfig.for_model('mm_prm')\n"
        "impl = check_task('generate-and-rerank')[1]['impl']\n"
        "print(type(config).__name__, MODEL_MAPPING[type(config)].__name__, "
        "PROCESSOR_MAPPING[type(config)].__name__, impl)\n"
    )
    names = "MMPRMConfig MMPRMModel MMPRMProcessor mmprm_hf.rerank.pipeline.GenerateAndRerankPipeline"
    assert run(code) == names


def test_a_pipeline_function_taken_before_us_works_for_paths_and_a_new_one_for_all(tmp_path):
    """``from transformers import pipeline; import mmprm_hf`` leaves the stock function in the user's hands."""
    taken, ours = transformers.pipeline.__wrapped__, transformers.pipeline
    call = {"text": "What is A?", "num_candidates": 2, "max_new_tokens": 6, "return_candidates": True}
    rerank = taken(TASK, model=str(POLICY_PATH), prm=str(PRM_PATH))
    before = [row["text"] for row in rerank(**call)["candidates"]]
    rerank.save_pretrained(tmp_path)
    assert [row["text"] for row in ours(TASK, model=str(tmp_path))(**call)["candidates"]] == before
    assert type(ours(TASK, model="http://127.0.0.1:9", prm=rerank.prm).model).__name__ == "ServedPolicy"
    # What only ours can do fails by name; the remedy for both is to import mmprm_hf first.
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        taken(TASK, model=str(tmp_path))
    with pytest.raises(OSError, match="http://127.0.0.1:9"):
        taken(TASK, model="http://127.0.0.1:9", prm=rerank.prm)


def test_registering_again_changes_nothing():
    before, finders = transformers.pipeline, list(sys.meta_path)
    importlib.reload(mmprm_hf)
    assert transformers.pipeline is before and transformers.pipelines.pipeline is before
    assert sys.meta_path == finders and not hasattr(before.__wrapped__, "__wrapped__")


def test_other_tasks_go_to_the_stock_function_as_they_came(tiny_text_policy_dir):
    generate = transformers.pipeline("text-generation", tiny_text_policy_dir, None, device="cpu")
    assert type(generate) is transformers.TextGenerationPipeline
    with pytest.raises(OSError, match="http://127.0.0.1:9"):
        transformers.pipeline("text-generation", model="http://127.0.0.1:9")
    assert transformers.pipeline.__name__ == "pipeline" and "task" in transformers.pipeline.__doc__


def test_public_names_resolve_and_unknown_ones_are_refused():
    for name in mmprm_hf.__all__:
        assert getattr(mmprm_hf, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'PRMTrainr'"):
        _ = mmprm_hf.PRMTrainr
