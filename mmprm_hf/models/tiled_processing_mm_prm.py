"""Image+text processor for InternVL-style backbones without torchvision: dynamic tiling and placeholder expansion.

transformers' own InternVLProcessor has a video processor and so needs torchvision. The PIL image processor of
transformers always cuts the tiles: torchvision's resizes differently, and scores must not depend on what is installed.
Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.processing_utils import ProcessorMixin

START_TOKEN, IMAGE_TOKEN, END_TOKEN = "<img>", "<IMG_CONTEXT>", "</img>"


def tiling_image_processor(
    tile_size: int, min_tiles: int = 1, max_tiles: int = 6, dynamic: bool = True
) -> GotOcr2ImageProcessorPil:
    """Return InternVL's tiling: the grid nearest to the image's aspect ratio, row by row, then a thumbnail.

    An image whose grid is a single tile has no thumbnail.

    Args:
        tile_size: Side of a tile, in pixels.
        min_tiles: Fewest tiles of a grid.
        max_tiles: Most tiles of a grid, without the thumbnail.
        dynamic: False squeezes every image into one tile.
    """
    return GotOcr2ImageProcessorPil(
        size={"height": tile_size, "width": tile_size},
        crop_to_patches=dynamic,
        min_patches=min_tiles,
        max_patches=max_tiles,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )


class MMPRMTiledProcessor(ProcessorMixin):
    """Replaces each ``<IMG_CONTEXT>`` of a text by ``<img>``, `image_seq_length` of it per tile, and ``</img>``.

    Args:
        image_processor: Result of `tiling_image_processor`.
        tokenizer: A tokenizer with the three image tokens.
        image_seq_length: Number of image tokens per tile.
        chat_template: None, because `MMPRMProcessor` writes the prompt.

    Raises:
        ValueError: if the tokenizer lacks an image token.

    Example:
        >>> batch = processor(images=[[figure]], text=["<IMG_CONTEXT>\\nWhat is x?"])  # doctest: +SKIP
        >>> batch["pixel_values"].shape  # (tiles, 3, height, width)  # doctest: +SKIP
        torch.Size([3, 3, 448, 448])
    """

    def __init__(
        self,
        image_processor: GotOcr2ImageProcessorPil | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        image_seq_length: int = 256,
        chat_template: str | None = None,
    ):
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        vocab = tokenizer.get_vocab()
        missing = [token for token in (START_TOKEN, IMAGE_TOKEN, END_TOKEN) if token not in vocab]
        if missing:
            raise ValueError(f"The tokenizer lacks {missing}. Use the tokenizer of an InternVL checkpoint.")
        self.image_seq_length = image_seq_length
        self.image_token = IMAGE_TOKEN
        self.image_token_id = vocab[IMAGE_TOKEN]

    @classmethod
    def _get_arguments_from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, processor_dict: dict | None = None, **kwargs
    ) -> list[Any]:
        """Load the PIL image processor: AutoImageProcessor would take torchvision's where that is installed."""
        return [
            GotOcr2ImageProcessorPil.from_pretrained(pretrained_model_name_or_path, **kwargs),
            AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs),
        ]

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that `__call__` returns."""
        return ["input_ids", "attention_mask", "pixel_values"]

    def __call__(
        self,
        images: Sequence[Any] | None = None,
        text: str | Sequence[str] | None = None,
        padding: bool = False,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        add_special_tokens: bool = True,
    ) -> BatchFeature:
        """Return the token ids and tiles of a batch of texts.

        Args:
            images: A list of RGB images per text, in the order of its placeholders; None for no images.
            text: One text or several, with one ``<IMG_CONTEXT>`` per image.
            padding, padding_side, return_tensors, add_special_tokens: As in a tokenizer's call.

        Returns:
            `input_ids`, `attention_mask` (batch, seq) and, with images, `pixel_values` (tiles, 3, height, width) of
            all images one after the other.

        Raises:
            ValueError: if a text has more or fewer placeholders than images.
        """
        texts = [text] if isinstance(text, str) else list(text)
        rows = [[] for _ in texts] if images is None else [list(row) for row in images]
        if len(rows) != len(texts):
            raise ValueError(f"Found {len(texts)} texts and {len(rows)} lists of images. Give one list per text.")
        expanded, pixel_values = [], []
        for index, (row_text, row_images) in enumerate(zip(texts, rows, strict=True)):
            pieces = row_text.split(IMAGE_TOKEN)
            if len(pieces) - 1 != len(row_images):
                raise ValueError(
                    f"Found {len(pieces) - 1} times {IMAGE_TOKEN!r} but {len(row_images)} images in row {index}. "
                    "Each image needs one placeholder."
                )
            expanded.append(pieces[0])
            for image, piece in zip(row_images, pieces[1:], strict=True):
                tiles = self.image_processor(images=image, return_tensors="pt")["pixel_values"]
                pixel_values.append(tiles)  # (tiles, 3, height, width)
                image_tokens = IMAGE_TOKEN * (self.image_seq_length * len(tiles))
                expanded[-1] += START_TOKEN + image_tokens + END_TOKEN + piece
        features = self.tokenizer(
            expanded,
            padding=padding,
            padding_side=padding_side,
            return_tensors=return_tensors,
            add_special_tokens=add_special_tokens,
            return_token_type_ids=False,
        )
        if pixel_values:
            features["pixel_values"] = torch.cat(pixel_values)
        return BatchFeature(dict(features))
