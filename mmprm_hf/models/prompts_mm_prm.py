"""The PRM's prompt as text: its shape, the named dialects of published MM-PRM, and what text may not contain.

Everything here is a string; token ids belong to the processor.
This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import dataclasses

PLAIN_PROMPT = "{images}{question}\n"

# The default system message of InternVL2.5's template; published MM-PRM trains and scores with it.
_INTERNVL_SYSTEM = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)
_MM_PRM_HEAD = f"<|im_start|>system\n{_INTERNVL_SYSTEM}<|im_end|>\n<|im_start|>user\n"
_MM_PRM_TAIL = "<|im_start|>assistant\n{images}Question: {question}\nProcess: "


@dataclasses.dataclass(frozen=True)
class PromptShape:
    """How question, images and steps become one text.

    Args:
        prompt_template: Text with "{question}" and (optional) "{images}"; None uses the policy's chat template.
        step_separator: Text between a marker and the next step.
        image_separator: Text after each image that "{images}" writes.
        question_image_token: Text that marks an image's place inside a question ("{images}" is then empty); None
            refuses image placeholders in questions.
        join_before_tokenizing: Text between two markers, the prompt's end included, is tokenised as one string, as
            published MM-PRM does. False tokenises prompt, separator and steps each by itself.

    Raises:
        ValueError: if `prompt_template` has no "{question}".
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
        """`prompt_template` filled in, with one `image_token` per image.

        Raises:
            ValueError: if the question marks another number of places than there are images.
        """
        images = (image_token + self.image_separator) * num_images
        place = self.question_image_token
        num_places = question.count(place) if place else 0
        if num_places:
            if num_places != num_images:
                raise ValueError(
                    f"Found {num_places} times {place!r} in the question but {num_images} images. Mark the place of "
                    "every image, or of none (they then stand before the question)."
                )
            question, images = question.replace(place, image_token), ""
        # Filled from the template's pieces: a question that spells "{images}" stays as it is.
        before, after = self.prompt_template.split("{question}", 1)
        return before.replace("{images}", images) + question + after.replace("{images}", images)


# Published MM-PRM trains and evaluates with different prompts. The empty user turn is closed in training only
# (internvl2_5 template against Conversation.get_prompt), and steps are joined by a blank line in training only.
# Differs from MM-PRM: the closing "<|im_end|>\n" after the last marker is not written; no score can depend on it.
DIALECTS: dict[str, PromptShape] = {
    "train": PromptShape(
        prompt_template=_MM_PRM_HEAD + "<|im_end|>\n" + _MM_PRM_TAIL,
        step_separator="\n\n",
        image_separator="\n",
        question_image_token="<image>",
        join_before_tokenizing=True,
    ),
    "reference_eval": PromptShape(
        prompt_template=_MM_PRM_HEAD + _MM_PRM_TAIL,
        step_separator="",
        image_separator="\n",
        question_image_token="<image>",
        join_before_tokenizing=True,
    ),
}


def find_dialect(name: str) -> PromptShape:
    """The prompt shape of a dialect.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in DIALECTS:
        raise ValueError(f"Unknown dialect {name!r}; choose one of {', '.join(DIALECTS)}.")
    return DIALECTS[name]


def check_text(text: str, what: str, control_tokens: tuple[str, ...]) -> None:
    """Refuses text that holds a control token (marker, image placeholder, any special token).

    Raises:
        ValueError: naming the token.
    """
    for token in control_tokens:
        if token in text:
            raise ValueError(
                f"Found the control token {token!r} inside the {what}: {text[:80]!r}. Text may not write markers, "
                "image placeholders or special tokens; remove or rewrite it."
            )


def split_tail(prompt: str, control_tokens: tuple[str, ...]) -> tuple[str, str]:
    """A prompt cut after its last control token: tokenisers never merge text across one."""
    cut = max((prompt.rfind(token) + len(token) for token in control_tokens if token in prompt), default=0)
    return prompt[:cut], prompt[cut:]


__all__ = ["DIALECTS", "PLAIN_PROMPT", "PromptShape", "check_text", "find_dialect", "split_tail"]
