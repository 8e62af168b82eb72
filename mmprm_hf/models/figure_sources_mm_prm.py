"""Figures in any form that users have them: what holds the pixels of each, before it is decoded.

Part of the portable island, which is copied into checkpoints: imports siblings only.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from .fetching_mm_prm import fetch, short_address

_WEB = ("http://", "https://")
_MIN_BASE64 = 40  # characters: no image is shorter, many a path is
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\s%-]+\Z")
_FORMS = (
    "Give a path, an http, file:// or data: address, Base64, bytes, an open binary file, an array or tensor, or a PIL "
    "image."
)


def figure_source(image: Any, allow_urls: bool | Sequence[str] = False) -> str | bytes | Image.Image:
    """Return the path of an existing file, the bytes of an image file, or a PIL image.

    Args:
        image: See `load_image`.
        allow_urls: See `load_image`.

    Raises:
        ValueError: if it has none of the forms, or names a file that does not exist.
        ConnectionError: if an address cannot be reached.
    """
    if isinstance(image, Mapping):
        image = _from_mapping(image)
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, str):
        return _from_text(image, allow_urls)
    if isinstance(image, os.PathLike):
        return _existing(os.fspath(image))
    if hasattr(image, "read"):
        return _from_open_file(image)
    if hasattr(image, "__array__"):
        return _from_array(image)
    raise ValueError(f"Found an image of type {type(image).__name__}. {_FORMS}")


def is_figure(value: Any) -> bool:
    """Whether a value has one of the forms of a figure; a list or another collection of figures has not."""
    types = (str, bytes, bytearray, memoryview, os.PathLike, Mapping, Image.Image)
    return isinstance(value, types) or hasattr(value, "read") or hasattr(value, "__array__")


def is_address(image: Any) -> bool:
    """Whether a figure is an http or https address."""
    return isinstance(image, str) and image.lower().startswith(_WEB)


def holds_image(text: str) -> bool:
    """Whether a text is an image file in Base64."""
    return len(text) >= _MIN_BASE64 and (content := _decoded(text)) is not None and _is_image_file(content)


def named_figure(image: Mapping[str, Any]) -> Any:
    """Return what a mapping without bytes names: its path or address, also in a chat's ``{"image_url": {"url"}}``."""
    names = (image[key] for key in ("path", "url", "image_url") if image.get(key) is not None)
    name = next(names, None)
    return named_figure(name) if isinstance(name, Mapping) else name


def _from_mapping(image: Mapping[str, Any]) -> Any:
    """The content of ``{"bytes", "path"}``, the undecoded form of `datasets`, or of a part of a chat."""
    content = image.get("bytes")
    if isinstance(content, str):
        decoded = _decoded(content)
        if decoded is None:
            raise ValueError(f"Found the image bytes {content[:40]!r}, a text that is not Base64. {_FORMS}")
        return decoded
    if content is not None and not isinstance(content, (bytes, bytearray, memoryview)):
        raise ValueError(f"Found image bytes of type {type(content).__name__}. {_FORMS}")
    content = named_figure(image) if content is None else content
    if content is None:
        raise ValueError(f"Found an image without bytes and path, {str(dict(image))[:80]}. {_FORMS}")
    return content


def _from_text(text: str, allow_urls: bool | Sequence[str]) -> str | bytes:
    if is_address(text):
        if allow_urls is False:
            raise ValueError(
                f"Image {short_address(text)!r} is an address, and addresses are not fetched unless that is asked for. "
                "Give a file, or allow its host (allow_urls=True, --allow-urls HOST)."
            )
        return fetch(text, None if allow_urls is True else allow_urls)
    if text[:5].lower() == "data:":
        return _from_data_uri(text)
    if text[:7].lower() == "file://":
        parts = urllib.parse.urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"Image {text[:300]!r} names a file of another machine. Give a file of this one.")
        return _existing(urllib.request.url2pathname(parts.path))
    return _decoded(text) if not os.path.isfile(text) and holds_image(text) else _existing(text)


def _existing(path: str | bytes) -> str:
    path = os.fsdecode(path)
    if "\0" in path:
        raise ValueError(f"Image {path!r:.300} has a null character in its name. Correct the name.")
    if not os.path.isfile(path):
        reason = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ValueError(f"Image {path!r:.300} {reason}. Give a readable image file or a PIL image.")
    return path


def _from_data_uri(text: str) -> bytes:
    head, comma, content = text.partition(",")
    is_base64 = head.lower().rstrip().endswith(";base64")
    decoded = _decoded(content) if is_base64 else urllib.parse.unquote_to_bytes(content)
    if not comma or not decoded:
        raise ValueError(f"Image {text[:100]!r} holds no image: its data cannot be decoded. {_FORMS}")
    return decoded


def _decoded(text: str) -> bytes | None:
    """Base64 as bytes, also with line breaks, of the URL-safe alphabet, percent-encoded or without padding."""
    if not _BASE64.match(text):
        return None
    text = "".join(urllib.parse.unquote(text).split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _is_image_file(content: bytes) -> bool:
    """Whether bytes begin as a file of a common format does: a long path may be Base64 by chance."""
    starts = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP", b"\xff\x4f")
    return content.startswith(starts) or content[4:8] == b"ftyp" or bool(re.match(rb"P[1-7]\s", content))


def _from_open_file(file: Any) -> bytes:
    if hasattr(file, "seek") and (not hasattr(file, "seekable") or file.seekable()):
        file.seek(0)  # a figure is read more than once
    content = file.read()
    if not isinstance(content, bytes) or not content:
        seen = "an empty file" if not content else "a file that was opened as text"
        raise ValueError(f"Found {seen} as an image. Open the image file as binary, such as open(path, 'rb').")
    return content


def _from_array(image: Any) -> Image.Image:
    """A PIL image from an array or tensor: (height, width), (height, width, channels) or (channels, height, width)."""
    if hasattr(image, "detach"):  # a torch tensor, maybe on a device, maybe of bfloat16
        image = image.detach().cpu()
        image = image.float() if image.dtype.is_floating_point else image
    array = np.asarray(image)
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    is_figure = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not is_figure or not array.size or array.dtype.kind not in "buif":
        raise ValueError(
            f"Found an image of shape {np.shape(image)} and type {array.dtype}. An array is one figure of numbers: "
            "(height, width), (height, width, 1, 3 or 4 channels), or channels first. Give the figures of a batch one "
            "by one, grey with transparency as a PIL image."
        )
    try:
        return Image.fromarray(np.ascontiguousarray(eight_bits(array)))
    except PixelValuesError as error:
        raise ValueError(
            f"Found an array whose {error}. Undo a normalisation, scale them, or give an 8-bit image."
        ) from error


class PixelValuesError(ValueError):
    """Pixel values in a range that no image has; the message lacks its subject."""


def eight_bits(array: np.ndarray) -> np.ndarray:
    """Return pixel values as uint8, 0 black and 255 white.

    bool, uint8 and uint16 have their own range. Of other types the values decide: floats up to 1 are shares, values up
    to 255 are 8-bit, and values up to 65535 are 16-bit.

    Raises:
        PixelValuesError: for values that are negative, above 65535, or not finite.
    """
    if array.dtype == np.uint8:
        return array
    highest, lowest = float(array.max()), float(array.min())
    if not 0 <= lowest <= highest <= 65535:  # NaN is refused too
        raise PixelValuesError(
            f"pixel values from {lowest:g} to {highest:g} of type {array.dtype} lie in none of [0, 1], [0, 255] and "
            "[0, 65535]"
        )
    if array.dtype == np.bool_ or (array.dtype.kind == "f" and highest <= 1):
        scale = 255.0
    else:
        scale = 1 / 257 if array.dtype == np.uint16 or highest > 255 else 1.0
    return np.rint(array.astype(np.float64) * scale).astype(np.uint8)
