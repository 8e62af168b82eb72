"""Importing the package is cheap, and afterwards transformers' own Auto classes and pipeline know it."""

import subprocess
import sys

import pytest

import mmprm_hf


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_import_brings_in_neither_torch_nor_transformers():
    assert run("import sys, mmprm_hf; print({'torch', 'transformers'} & set(sys.modules))") == "set()"


@pytest.mark.parametrize(
    "first",
    [
        "import mmprm_hf, transformers",
        "from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline\nimport mmprm_hf",
        "import mmprm_hf\nfrom transformers import LlamaForCausalLM",
        "import mmprm_hf\nfrom transformers import pipeline",
        "import mmprm_hf\nfrom transformers.processing_utils import ProcessorMixin",
        "from mmprm_hf import PRMTrainer",
    ],
)
def test_auto_classes_and_pipeline_know_us_whatever_is_imported_first(first):
    code = (
        f"{first}\n"
        "from transformers import AutoConfig, AutoModel, AutoProcessor, MODEL_MAPPING, PROCESSOR_MAPPING\n"
        "from transformers.pipelines import check_task, _resolve_impl\n"
        "config = AutoConfig.for_model('mm_prm')\n"
        "task = _resolve_impl(check_task('generate-and-rerank')[1]['impl'])\n"
        "print(type(config).__name__, MODEL_MAPPING[type(config)].__name__, "
        "PROCESSOR_MAPPING[type(config)].__name__, task.__name__)\n"
    )
    assert run(code) == "MMPRMConfig MMPRMModel MMPRMProcessor GenerateAndRerankPipeline"


def test_public_names_resolve_and_unknown_ones_are_refused():
    for name in mmprm_hf.__all__:
        assert getattr(mmprm_hf, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'PRMTrainr'"):
        _ = mmprm_hf.PRMTrainr
