"""Image+text processor for InternVL-style backbones without torchvision: dynamic tiling and placeholder expansion.

transformers' own InternVLProcessor holds a video processor and so needs torchvision. Tiling is transformers' PIL image
processor, always: its torchvision twin resizes differently, and a score must not depend on what is installed.

This file is part of the portable island: sibling imports only, so that a saved checkpoint carries it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.processing_utils import ProcessorMixin

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
START_TOKEN, IMAGE_TOKEN, END_TOKEN = "<img>", "<IMG_CONTEXT>", "</img>"


def tiling_image_processor(
    tile_size: int, min_tiles: int = 1, max_tiles: int = 6, dynamic: bool = True
) -> GotOcr2ImageProcessorPil:
    """InternVL's tiling: the grid nearest to the image's aspect ratio, row by row, then a thumbnail of the whole.

    An image whose grid is a single tile has no thumbnail.

    Args:
        tile_size: Side of a tile, in pixels.
        min_tiles: Fewest tiles of a grid.
        max_tiles: Most tiles of a grid; the thumbnail comes on top.
        dynamic: False squeezes every image into one tile.
    """
    return GotOcr2ImageProcessorPil(
        size={"height": tile_size, "width": tile_size},
        crop_to_patches=dynamic,
        min_patches=min_tiles,
        max_patches=max_tiles,
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
    )


class MMPRMTiledProcessor(ProcessorMixin):
    """Replaces each ``<IMG_CONTEXT>`` of a text by ``<img>``, `image_seq_length` of it per tile, and ``</img>``.

    Args:
        image_processor: As `tiling_image_processor` makes it.
        tokenizer: Knows the three image tokens.
        image_seq_length: Image tokens of one tile.
        chat_template: None; the prompt is the business of `MMPRMProcessor`.

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
        """The parts of `__init__`: AutoImageProcessor would choose torchvision's resize where that is installed."""
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
        """Token ids and tiles of a batch of texts.

        Args:
            images: A list of RGB images per text, in the order of the placeholders; None for no image.
            text: One text or several, with one ``<IMG_CONTEXT>`` per image.
            padding, padding_side, return_tensors, add_special_tokens: As in a tokenizer's call.

        Returns:
            `input_ids`, `attention_mask` (batch, seq) and, with images, `pixel_values` (tiles, 3, height, width) of
            all images one after the other.

        Raises:
            ValueError: if a text has another number of placeholders than images.
        """
        texts = [text] if isinstance(text, str) else list(text)
        rows = [[] for _ in texts] if images is None else [list(row) for row in images]
        if len(rows) != len(texts):
            raise ValueError(f"Found {len(texts)} texts and {len(rows)} lists of images. Give one list per text.")
        expanded, pixel_values = [], []
        for index, (row_text, row_images) in enumerate(zip(texts, rows, strict=True)):
            num_places = row_text.count(IMAGE_TOKEN)
            if num_places != len(row_images):
                raise ValueError(
                    f"Found {num_places} times {IMAGE_TOKEN!r} but {len(row_images)} images in row {index}. "
                    "Each image needs one placeholder."
                )
            pieces = row_text.split(IMAGE_TOKEN)
            expanded.append(pieces[0])
            for image, piece in zip(row_images, pieces[1:], strict=True):
                tiles = self.image_processor(images=image, return_tensors="pt")["pixel_values"]
                pixel_values.append(tiles)  # (tiles, 3, height, width)
                expanded[-1] += self.image_text(len(tiles)) + piece
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

    def image_text(self, num_tiles: int) -> str:
        """What stands for an image of `num_tiles` tiles."""
        return START_TOKEN + IMAGE_TOKEN * (self.image_seq_length * num_tiles) + END_TOKEN


__all__ = ["MMPRMTiledProcessor", "tiling_image_processor"]
