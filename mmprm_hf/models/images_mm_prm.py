"""Images as users have them (PIL, paths, bytes of `datasets`) to upright RGB images.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import io
import os
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

_ORIENTATION = 0x0112  # Exif tag


def load_image(image: Any, decode: bool = True) -> Image.Image:
    """Return an upright RGB image from a PIL image, a path, or the {"bytes", "path"} form of `datasets`.

    Args:
        image: The source.
        decode: False only opens the image, which is enough for its size.

    Raises:
        ValueError: if the file does not exist, is not an image, or is cut off.
    """
    if isinstance(image, dict):
        image = io.BytesIO(image["bytes"]) if image.get("bytes") is not None else image.get("path")
    if isinstance(image, (str, os.PathLike)) and not os.path.isfile(image):
        raise ValueError(f"Image {str(image)!r:.300} does not exist. Give a readable image file or a PIL image.")
    if not isinstance(image, (str, os.PathLike, io.BytesIO, Image.Image)):
        raise ValueError(f"Found an image of type {type(image).__name__}. Give a PIL image or a path.")
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        opened = upright(opened)
        return _opaque(_eight_bits(opened)).convert("RGB") if decode else opened
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        name = str(image) if isinstance(image, (str, os.PathLike)) else "given as bytes"
        # Pillow names the object in memory, with a number that differs each time.
        reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"Image {name!r} cannot be read ({reason}). Give a whole image file or a PIL image."
        ) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Turn 16-bit grey into 8-bit grey: `convert` would clip it at 255, which leaves a white page."""
    if not image.mode.startswith("I;16"):
        return image
    return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")


def _opaque(image: Image.Image) -> Image.Image:
    """Put transparent parts on white paper: `convert` would make them black under black lines."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    return paper


def upright(image: Image.Image) -> Image.Image:
    """Return the image as it is meant to be seen: a photograph's pixels may be rotated, and its Exif data says how."""
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        return ImageOps.exif_transpose(image)
    except OSError:  # the pixels themselves are cut off
        raise
    except Exception:  # noqa: BLE001 (broken metadata raises anything; the pixels are whole)
        return image
