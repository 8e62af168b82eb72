"""Groups of problems that stay together. How groups are drawn is tested with the whole run."""

from __future__ import annotations

from mmprm_hf.curation.splits import first_of_group


def test_pairs_join_groups_also_in_chains():
    assert first_of_group(6, [(3, 2), (0, 2), (4, 5)]) == [0, 1, 0, 0, 4, 4]
    assert first_of_group(2, [(1, 1)]) == [0, 1] and first_of_group(0, []) == []
