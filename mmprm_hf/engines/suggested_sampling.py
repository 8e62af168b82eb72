"""What a policy's generation config suggests about sampling, beside what an engine does. Imports no torch."""

from __future__ import annotations

import logging
import weakref
from typing import Any

from .requests import SamplingConfig

logger = logging.getLogger(__name__)

_OPTIONS = ("temperature", "top_p", "top_k")
_UNKNOWN = ("repetition_penalty", "min_p", "typical_p", "no_repeat_ngram_size")
_noted: weakref.WeakSet[Any] = weakref.WeakSet()


def note_other_sampling(model: Any, sampling: SamplingConfig) -> None:
    """Log once per model where its `generation_config` suggests another sampling than the one that is used.

    Labels, candidates and their counts are those of the sampling that was asked for, whatever the config suggests. A
    greedy engine is left alone: nobody asks for that without knowing.
    """
    config = getattr(model, "generation_config", None)
    if not getattr(config, "do_sample", None) or sampling.temperature == 0 or model in _noted:
        return
    suggested = {name: getattr(config, name, None) for name in (*_OPTIONS, *_UNKNOWN)}
    others = [name for name in _OPTIONS if suggested[name] not in (None, getattr(sampling, name))]
    unknown = [name for name in _UNKNOWN if suggested[name] not in (None, 0, 1.0)]
    if not others and not unknown:
        return
    _noted.add(model)
    values = ", ".join(f"{name} {suggested[name]}" for name in (*others, *unknown))
    used = ", ".join([f"{name} {getattr(sampling, name)}" for name in others] + [f"no {name}" for name in unknown])
    remedy = f" Give {', '.join(others)} to sample as it suggests." if others else ""
    logger.warning("The policy's generation config suggests %s; it is sampled with %s.%s", values, used, remedy)
