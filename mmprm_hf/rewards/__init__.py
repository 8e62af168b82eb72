"""The PRM and the answer as reward functions of reinforcement learning, with guards against reward hacking."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "answer_reward": ["AnswerReward"],
        "process_reward": ["ProcessReward"],
    },
)
