"""The engines of one policy, one for each way of sampling, with one step format among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..data import Problem
from ..engines import RolloutEngine, SamplingConfig, TransformersEngine, run_async
from ..steps import AUTO, StepFormat, read_step_format
from .served_policy import ServedPolicy

FORMAT_OPTIONS = ("step_format", "instruction")
"""What a saved pipeline and a run keep of the policy's format."""


class PolicyEngines:
    """Makes engines as they are asked for; what the first one finds out of the policy's format, the others take over.

    Args:
        policy: A model, or a `ServedPolicy`.
        processor: The model's processor or tokenizer; None for a served policy.
        step_format: A `StepFormat`, its name or its dict; None takes the one that the policy declares, or finds it.
        instruct: See `TransformersEngine`.
        instruction: The instruction that an earlier run found to be needed; None for none.
        template_options: More variables of the chat template of a policy in this process; None for none.
    """

    def __init__(
        self,
        policy: Any,
        processor: Any,
        step_format: Any,
        instruct: str,
        instruction: str | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._policy, self._processor, self._instruct = policy, processor, instruct
        self._template_options = dict(template_options or {})
        self._facts = {} if step_format in (None, AUTO) else {"step_format": read_step_format(step_format)}
        if instruction is not None:
            self._facts["instruction"] = instruction
        self._engines: dict[tuple[SamplingConfig, str | None, bool], RolloutEngine] = {}

    @property
    def step_format(self) -> StepFormat | None:
        """How the policy writes steps; None until it is found."""
        return self._facts.get("step_format")

    def engine(self, sampling: SamplingConfig, system_prompt: str | None, *, fits_to_server: bool) -> RolloutEngine:
        """Return the engine with these settings."""
        key = (sampling, system_prompt, fits_to_server)
        if key not in self._engines:
            options = {"system_prompt": system_prompt, "instruct": self._instruct, "step_format": self.step_format}
            if isinstance(self._policy, ServedPolicy):
                engine = self._policy.engine(sampling, fits_to_server=fits_to_server, **options)
            else:
                options["template_options"] = self._template_options
                engine = TransformersEngine(self._policy, self._processor, sampling=sampling, **options)
            if "instruction" in self._facts:
                engine.format.instruction = self._facts["instruction"]
            self._engines[key] = engine
        return self._engines[key]

    def settle(
        self, engine: RolloutEngine, problems: Sequence[Problem], facts: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Let an engine find the step format where it is not known yet; see `GenerateAndRerankPipeline.settle`."""
        if self.step_format is None and hasattr(engine, "settle"):
            run_async(engine.settle(problems, facts))
        self.keep_format()
        return self.saved_format()

    def keep_format(self) -> None:
        """Take over what the first engine found, for those of other settings."""
        for engine in self._engines.values():
            if self.step_format is None and getattr(engine, "step_format", None) is not None:
                self._facts = {"step_format": engine.step_format}
                if engine.format.instruction is not None:
                    self._facts["instruction"] = engine.format.instruction

    def saved_format(self) -> dict[str, Any]:
        """Return what has to be kept to find the format again: nothing for one that the policy itself declares."""
        declared = getattr(getattr(self._policy, "generation_config", None), "step_format", None)
        if self.step_format is None or (declared is not None and read_step_format(declared) == self.step_format):
            return {}
        return {**self._facts, "step_format": self.step_format.to_dict()}
