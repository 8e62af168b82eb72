"""A world of three digits, for guided searches: a policy that draws digits, and a scorer that knows which are good."""

import random

from mmprm_hf.data import Problem, Rollout

DEPTH = 3


def problem(name="p") -> Problem:
    return Problem(id=name, question=f"Which digits, {name}?")


def step_rollout(step: str, num_tokens: int = 2) -> Rollout:
    """What an engine gives that was stopped at the closing tag of a step."""
    return Rollout((), None, False, "stop", num_tokens=num_tokens, text=f"<step>{step}")


def answer_rollout(answer: str, num_tokens: int = 1) -> Rollout:
    return Rollout((), answer, True, "stop", num_tokens=num_tokens, text=f"<answer>{answer}</answer>")


class StepEngine:
    """Draws digits 0 to 9 by a request's seed; after `DEPTH` of them it answers with all. Notes every request."""

    identity = {"engine": "digits"}

    def __init__(self, write=None):
        self.write, self.requests = write or self.digit, []

    @staticmethod
    def digit(request, index) -> Rollout:
        if len(request.prefix) == DEPTH:
            return answer_rollout("".join(request.prefix))
        return step_rollout(str(random.Random(f"{request.prefix} {request.seed} {index}").randrange(10)))

    async def generate(self, requests):
        self.requests.append(list(requests))
        return [tuple(self.write(request, i) for i in range(request.num_samples)) for request in requests]


class DigitScorer:
    """Scores a digit by `digit / 10` (or by `quality`), each step by itself; notes what is scored and kept."""

    def __init__(self, quality=lambda steps: (int(steps[-1]) + 1) / 11, unreadable=()):
        self.quality, self.unreadable = quality, unreadable
        self.sessions = {}

    def can_score(self, steps) -> bool:
        return bool(steps) and not any(step in self.unreadable for step in steps)

    def session(self, one):
        return self.sessions.setdefault(one.id, DigitSession(self))


class DigitSession:
    def __init__(self, scorer):
        self.scorer, self.scored, self.kept = scorer, [], []

    def score(self, solutions):
        self.scored.append(list(solutions))
        return [tuple(self.scorer.quality(s[: i + 1]) for i in range(len(s))) for s in solutions]

    def keep(self, solutions):
        self.kept.append(list(solutions))
