"""The labelling searches under the names that configurations and the command line use."""

from __future__ import annotations

from . import flat_mc, omegaprm, omegaprm_reference

SEARCHES = {
    "omegaprm": (omegaprm.search, omegaprm.OmegaPRMConfig),
    "omegaprm_reference": (omegaprm_reference.search, omegaprm.OmegaPRMConfig),
    "flat_mc": (flat_mc.search, flat_mc.FlatMCConfig),
}
"""By name, the search and the dataclass of its options."""
