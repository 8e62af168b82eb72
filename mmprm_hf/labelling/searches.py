"""The labelling searches by the name that configurations and the command line use."""

from __future__ import annotations

from . import flat_mc, omegaprm, omegaprm_reference

SEARCHES = {
    "omegaprm": (omegaprm.search, omegaprm.OmegaPRMConfig),
    "omegaprm_reference": (omegaprm_reference.search, omegaprm.OmegaPRMConfig),
    "flat_mc": (flat_mc.search, flat_mc.FlatMCConfig),
}
"""Name -> (search, the dataclass of its options)."""
