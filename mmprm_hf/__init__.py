"""Multimodal process reward models for the Hugging Face ecosystem.

After ``import mmprm_hf``, transformers' own ``AutoConfig``, ``AutoModel``, ``AutoProcessor`` and
``pipeline("generate-and-rerank")`` know the package. Importing it is cheap: neither torch nor transformers is
imported, and each registration happens when transformers itself loads the module that it concerns.
"""

import importlib

from . import _registration

__version__ = "0.1.0"

_PUBLIC = {
    "AnswerReward": ".rerank.reward",
    "Candidate": ".data",
    "ChatClient": ".engines",
    "EndpointEngine": ".engines",
    "GenerateAndRerankPipeline": ".rerank.pipeline",
    "JudgeVerifier": ".judge_verifier",
    "MMPRMConfig": ".models",
    "MMPRMModel": ".models",
    "MMPRMProcessor": ".models",
    "PRMConfig": ".training.prm_config",
    "PRMScorer": ".scoring",
    "PRMTrainer": ".training.prm_trainer",
    "Problem": ".data",
    "ProcessReward": ".rerank.reward",
    "RerankConfig": ".rerank.solving",
    "RuleVerifier": ".answers",
    "ScoreStore": ".score_store",
    "ServedPolicy": ".rerank.served_policy",
    "TransformersEngine": ".engines",
    "Verdict": ".data",
    "aggregate": ".selection",
    "parse_response": ".steps",
    "solve": ".rerank.solving",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_registration.install()
