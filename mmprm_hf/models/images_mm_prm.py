"""Figures in any form to upright RGB images, and whether a figure can be read: the one reader of figures there is.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .fetching_mm_prm import short_address
from .figure_sources_mm_prm import PixelValuesError, eight_bits, figure_source

_ORIENTATION = 0x0112  # Exif tag
_MAX_CHECKED = 100_000  # figures whose sizes are remembered
# Others start programs (EPS starts Ghostscript) or are no figures.
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
_checked: dict[Any, tuple[int, int]] = {}


def load_image(image: Any, *, allow_urls: bool | Sequence[str] = False) -> Image.Image:
    """Return a figure as an upright RGB image.

    Args:
        image: A path, an http, ``file://`` or ``data:`` address, Base64 (also with line breaks, of the URL-safe
            alphabet or percent-encoded), bytes, an open binary file, an array or tensor ((height, width), channels last
            or first), a PIL image of any mode, or the ``{"bytes", "path"}`` form of `datasets`.
        allow_urls: Whether addresses are fetched: False refuses them, True takes those of public hosts, a list takes
            those of its hosts alone.

    Raises:
        ValueError: if the figure has another form, does not exist, is cut off, is not an image of a known format, has
            more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, or an address is not allowed.
        ConnectionError: if an address cannot be reached.
    """
    source = figure_source(image, allow_urls)
    try:
        return _read(source, lambda opened: _opaque(_eight_bits(opened)).convert("RGB"))
    except ValueError as error:
        if isinstance(image, str) and isinstance(source, bytes):
            raise ValueError(f"Image {short_address(image)!r} holds no image: {error}") from error
        raise


def figure_size(image: Any) -> tuple[int, int]:
    """Return the width and height of a figure that is whole: its pixels are decoded, once for each content.

    Args:
        image: As in `load_image`; addresses are refused.

    Raises:
        ValueError: as `load_image`; what passes here does not fail there.
    """
    source = figure_source(image)
    if isinstance(source, Image.Image):
        return load_image(source).size
    if isinstance(source, bytes):
        key: Any = hashlib.sha256(source).digest()
    else:
        facts = os.stat(source)
        key = (os.path.realpath(source), facts.st_size, facts.st_mtime_ns, facts.st_ino)
    if key not in _checked:
        if len(_checked) >= _MAX_CHECKED:
            _checked.clear()
        _checked[key] = load_image(image).size  # its errors name the figure as it was given
    return _checked[key]


def image_format(image: bytes) -> str:
    """Return the format of a whole image file, such as "PNG", from its first bytes.

    Raises:
        ValueError: as `load_image`.
    """
    return _read(image, lambda opened: opened, turn=False).format


def _read(source: str | bytes | Image.Image, finish: Callable[[Any], Image.Image], turn: bool = True) -> Image.Image:
    """Open a source and finish the image; whatever a broken file makes a decoder raise becomes one sentence."""
    try:
        opened = _opened(source)
        return finish(upright(opened) if turn else opened)
    except Exception as error:  # noqa: BLE001 (decoders raise anything on a broken file)
        name = source if isinstance(source, str) else "given as bytes"
        name = name if not isinstance(source, Image.Image) else f"of mode {source.mode}"
        # Pillow names the object in memory, with a number that differs each time.
        reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else str(error).rstrip(".")
        remedy = "Give a whole image file or a PIL image."
        if isinstance(error, Image.DecompressionBombError):
            remedy = "Make it smaller."
        elif isinstance(error, PixelValuesError):
            remedy = "Undo a normalisation, scale them, or give an 8-bit image."
        raise ValueError(f"Image {name!r:.300} cannot be read ({reason}). {remedy}") from error


def _opened(source: str | bytes | Image.Image) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    Image.init()  # for its list of formats
    formats = [name for name in _FORMATS if name in Image.OPEN]
    opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and opened.width * opened.height > limit:
        raise Image.DecompressionBombError(
            f"it has {opened.width} x {opened.height} pixels, more than MAX_IMAGE_PIXELS={limit} of Pillow"
        )
    return opened


def _eight_bits(image: Image.Image) -> Image.Image:
    """Turn deep grey into 8-bit grey: `convert` would clip it at 255, which leaves a white or a black page."""
    is_deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if image.mode == "I" and not is_deep:
        lowest, highest = image.getextrema()
        is_deep = lowest >= 0 and 255 < highest <= 65535
    if is_deep:
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("I", "F"):
        return Image.fromarray(eight_bits(np.asarray(image)))
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """Put transparent parts on white paper: `convert` would make them black under black lines."""
    if not image.has_transparency_data:
        return image
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
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
