"""Another run in a folder of labels is told before any model is loaded."""

import os
import subprocess
import sys

import pytest
from support.layout import ROOT

from mmprm_hf import stages
from mmprm_hf.files import write_json


def test_another_seed_search_or_option_is_told_before_anything_heavy_is_imported(tmp_path):
    search = "mmprm_hf.labelling.flat_mc.search"
    write_json(tmp_path / "labels" / "run.json", {"search": search, "config": {"num_rollouts": 8}, "seed": 0})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["label", "-o", tmp_path / "labels", "--search", "flat_mc", "--seed", "1"]
    command = [sys.executable, "-X", "importtime", "-m", "mmprm_hf", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "seed: 0 there, 1 now; see run.json" in done.stderr
    assert not any(f" {name}\n" in done.stderr for name in ("torch", "transformers"))
    with pytest.raises(ValueError, match="search: 'mmprm_hf.labelling.flat_mc.search' there"):
        stages.check_label_folder(tmp_path / "labels", "omegaprm", None, 0)
    with pytest.raises(ValueError, match="config.num_rollouts: 8 there, 9 now"):
        stages.check_label_folder(tmp_path / "labels", "flat_mc", {"num_rollouts": 9}, 0)
    with pytest.raises(ValueError, match="Unknown search 'flat'. Did you mean 'flat_mc'"):
        stages.check_label_folder(tmp_path / "labels", "flat", None, 0)
