"""recipes/real: what is made once is not made again; the tiny LLaVA is read by transformers under vLLM's names."""

import os
import subprocess

import pytest
import torch
from support.layout import ROOT, import_recipe
from transformers import AutoModelForImageTextToText, AutoProcessor

tiny_llava = import_recipe("real", "tiny_llava")


@pytest.mark.parametrize(("script", "made"), [("make_vllm.sh", "vllm"), ("make_smollm2.sh", "smollm2")])
def test_a_script_prints_what_is_there_already(tmp_path, script, made):
    for folder in ("vllm", "smollm2"):
        (tmp_path / folder).mkdir()
    (tmp_path / "vllm" / ".ready").touch()
    command = ["bash", str(ROOT / "recipes" / "real" / script)]
    ran = subprocess.run(command, env={**os.environ, "MMPRM_REAL": str(tmp_path)}, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, str(tmp_path / made), "")


def test_the_tiny_llava_is_saved_under_the_servers_names_and_loads_here(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tiny_llava.py", str(tmp_path / "llava")])
    tiny_llava.main()
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "llava")
    built = tiny_llava.build_model(seed=0)
    for name, tensor in built.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.config.text_config.head_dim == tiny_llava.HEAD_SIZE
    processor = AutoProcessor.from_pretrained(tmp_path / "llava")
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}
    assert processor.apply_chat_template([message], add_generation_prompt=True).startswith("<|user|><image>")
