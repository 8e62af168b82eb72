"""How a PRM is shown a solution, as text: prompt formats, those of published MM-PRM, and what text may not contain.

Strings only; token ids are the business of `solutions_mm_prm`.
Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from .places_mm_prm import PLACEHOLDER, split_question

PLAIN_PROMPT = "{images}{question}\n"

# The default system message of InternVL2.5's template; published MM-PRM trains and scores with it.
_INTERNVL_SYSTEM = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)
_MM_PRM_HEAD = f"<|im_start|>system\n{_INTERNVL_SYSTEM}<|im_end|>\n<|im_start|>user\n"
_MM_PRM_TAIL = "<|im_start|>assistant\n{images}Question: {question}\nProcess: "


@dataclasses.dataclass(frozen=True)
class PromptFormat:
    """How question, images and steps become one text.

    Args:
        prompt_template: Text with "{question}" and, optionally, "{images}"; None uses the policy's chat template.
        step_separator: Text between a marker and the next step.
        image_separator: Text after each image that "{images}" writes.
        question_image_token: The one text that marks an image's place inside a question, as published code has it;
            None takes the placeholders of `places_mm_prm`. Where a question marks places, "{images}" is empty.
        join_before_tokenizing: Tokenize the text between two markers, the prompt's end included, as one string, as
            published MM-PRM does. False tokenizes prompt, separator and steps separately.

    Raises:
        ValueError: if `prompt_template` has no "{question}".

    Example:
        >>> PromptFormat("{images}Q: {question}", image_separator="|").render("What is x?", "<image>", 2)
        '<image>|<image>|Q: What is x?'
    """

    prompt_template: str | None = None
    step_separator: str = ""
    image_separator: str = ""
    question_image_token: str | None = None
    join_before_tokenizing: bool = False

    def __post_init__(self) -> None:
        if self.prompt_template is not None and "{question}" not in self.prompt_template:
            raise ValueError(f'prompt_template {self.prompt_template!r} does not contain "{{question}}".')

    def render(self, question: str, image_token: str, num_images: int) -> str:
        """Return `prompt_template` filled in, with one `image_token` per image, in the order of `split`.

        Raises:
            ValueError: as `split`.
        """
        images = (image_token + self.image_separator) * num_images
        if self._marks_places(question):
            parts = self.split(question, num_images)
            question, images = "".join(image_token if isinstance(part, int) else part for part in parts), ""
        # The template is filled piece by piece: a question that contains "{images}" stays as it is.
        before, after = self.prompt_template.split("{question}", 1)
        return before.replace("{images}", images) + question + after.replace("{images}", images)

    def split(self, question: str, num_images: int) -> list[str | int]:
        """Return the question's texts and its images, by index, in the order in which the prompt shows them.

        Raises:
            ValueError: if the question marks another number of images than there are.
        """
        marked = self.question_image_token
        if marked is None:
            return split_question(question, num_images)
        if not self._marks_places(question):
            return [*range(num_images), question]
        first, *others = question.split(marked)
        if len(others) != num_images:
            raise ValueError(
                f"Found {len(others)} times {marked!r} in the question but {num_images} images. Mark the place of "
                "every image, or of none (they then stand before the question)."
            )
        return [first, *(part for index, text in enumerate(others) for part in (index, text))]

    def _marks_places(self, question: str) -> bool:
        marked = self.question_image_token
        return bool(PLACEHOLDER.search(question)) if marked is None else marked in question


# Published MM-PRM trains and evaluates with different prompts. The empty user turn is closed in training only
# (internvl2_5 template against Conversation.get_prompt), and steps are joined by a blank line in training only.
# Differs from MM-PRM: the closing "<|im_end|>\n" after the last marker is not written; no score can depend on it.
_TRAIN = PromptFormat(
    prompt_template=_MM_PRM_HEAD + "<|im_end|>\n" + _MM_PRM_TAIL,
    step_separator="\n\n",
    image_separator="\n",
    question_image_token="<image>",
    join_before_tokenizing=True,
)
PROMPT_FORMATS: dict[str, PromptFormat] = {
    "train": _TRAIN,
    "reference_eval": dataclasses.replace(_TRAIN, prompt_template=_MM_PRM_HEAD + _MM_PRM_TAIL, step_separator=""),
}


def find_prompt_format(name: str) -> PromptFormat:
    """Return the prompt format of published MM-PRM with this name (ValueError for an unknown name)."""
    if name not in PROMPT_FORMATS:
        raise ValueError(f"Unknown prompt_format {name!r}. Choose one of {', '.join(PROMPT_FORMATS)}.")
    return PROMPT_FORMATS[name]


def check_text(text: str, what: str, control_tokens: Iterable[str]) -> None:
    """Refuse text (ValueError) that contains a control token: a marker, an image placeholder or any special token."""
    for token in control_tokens:
        if token in text:
            raise ValueError(
                f"Found the control token {token!r} inside the {what}: {text[:80]!r}. Text must not contain markers, "
                "image placeholders or special tokens; remove or rewrite it."
            )


def split_tail(prompt: str, control_tokens: Iterable[str]) -> tuple[str, str]:
    """Return a prompt cut behind its last control token: tokenizers never merge text across one."""
    cut = max((prompt.rfind(token) + len(token) for token in control_tokens if token in prompt), default=0)
    return prompt[:cut], prompt[cut:]
