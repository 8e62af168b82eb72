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


@pytest.mark.parametrize("order", ["import mmprm_hf, transformers", "import transformers, mmprm_hf"])
def test_auto_classes_and_pipeline_know_us_whatever_is_imported_first(order):
    code = (
        f"{order}\n"
        "from transformers import AutoConfig, AutoModel, AutoProcessor\n"
        "from transformers.pipelines import PIPELINE_REGISTRY\n"
        "config = AutoConfig.for_model('mm_prm')\n"
        "from transformers import MODEL_MAPPING, PROCESSOR_MAPPING\n"
        "print(type(config).__name__, MODEL_MAPPING[type(config)].__name__, "
        "PROCESSOR_MAPPING[type(config)].__name__, 'generate-and-rerank' in PIPELINE_REGISTRY.supported_tasks)\n"
    )
    assert run(code) == "MMPRMConfig MMPRMModel MMPRMProcessor True"


def test_public_names_resolve_and_unknown_ones_are_refused():
    for name in mmprm_hf.__all__:
        assert getattr(mmprm_hf, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'PRMTrainr'"):
        _ = mmprm_hf.PRMTrainr
