"""Multimodal process reward models for the Hugging Face ecosystem.

After ``import mmprm_hf``, transformers' own ``AutoConfig``, ``AutoModel``, ``AutoProcessor`` and ``pipeline`` (tasks
"generate-and-rerank" and "process-reward") know the package. Importing it is cheap: neither torch nor transformers is
imported, and each registration happens when transformers itself loads the module that it concerns.
"""

from . import _registration
from ._lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "answers": ["RuleVerifier"],
        "data": ["Candidate", "Problem", "Verdict"],
        "engines": ["ChatClient", "EndpointEngine", "TransformersEngine"],
        "labelling": ["ChatAnswerJudge"],
        "models": ["MMPRMConfig", "MMPRMModel", "MMPRMProcessor"],
        "rerank": ["GenerateAndRerankPipeline", "ProcessRewardPipeline", "RerankConfig", "ServedPolicy", "solve"],
        "rewards": ["AnswerReward", "ProcessReward"],
        "scoring": ["PRMScorer", "ScoreStore"],
        "selection": ["aggregate"],
        "stages.notebook": ["curate", "evaluate", "label", "train"],
        "steps": ["read_solution", "read_step_format"],
        "training": ["PRMConfig", "PRMTrainer"],
    },
)
__all__ += ["__version__"]

_registration.install()
