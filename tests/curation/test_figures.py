"""Figures: perceptual hashes, distances, and figures that cannot be read."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from support.raw_problems import drawing

from mmprm_hf.curation.figures import NUM_BITS, difference_hash, figure_distance, read_figure
from mmprm_hf.curation.records import RowError

DRAWINGS = [drawing(seed, (240, 180), 6, ("grey", "white", "black"), "black") for seed in range(12)]


def test_scans_of_one_figure_look_alike_and_other_figures_do_not():
    margins = Image.new("RGB", (400, 300), "white")
    margins.paste(DRAWINGS[1], (100, 60))
    jpeg = io.BytesIO()
    DRAWINGS[1].resize((144, 108)).save(jpeg, "JPEG", quality=60)
    hashes = list(map(difference_hash, DRAWINGS))
    for scan in (margins, Image.open(jpeg)):
        assert (hashes[1] ^ difference_hash(scan)).bit_count() <= 0.12 * NUM_BITS
    distances = [(a ^ b).bit_count() / NUM_BITS for a, b in itertools.combinations(hashes, 2)]
    assert min(distances) > 0.2 and 0.3 < np.mean(distances) < 0.6
    assert difference_hash(Image.new("L", (50, 50), "white")) == 0


def test_several_figures_are_compared_most_alike_first():
    a, b, c = map(read_figure, DRAWINGS[:3])
    assert figure_distance([a, b], [b, a]) == 0.0
    assert figure_distance([a], [c, a]) == 0.0
    assert figure_distance([a, a], [a, c]) == figure_distance([a], [c]) / 2  # each figure has one partner
    assert figure_distance([a], []) is None


def test_a_broken_figure_has_a_reason_without_its_folder(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n")
    for image in (str(tmp_path / "cut.png"), str(tmp_path / "absent.png"), {"bytes": b"", "path": None}, 5):
        with pytest.raises(RowError, match="figure_unreadable") as caught:
            read_figure(image)
        assert str(tmp_path) not in caught.value.detail
