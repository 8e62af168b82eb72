"""Context managers that leave a model in training as it was: modes, buffers, gradients, random numbers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from ..scoring import forget_longer_rows


@contextlib.contextmanager
def kept_modes(model: nn.Module) -> Iterator[None]:
    """Afterwards every module is in train or eval mode as before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


@contextlib.contextmanager
def kept_gradients_and_buffers(model: nn.Module) -> Iterator[None]:
    """There are no gradients inside; afterwards gradients and buffers are as before."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        forget_longer_rows(model)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


@contextlib.contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Afterwards the generators of Python, NumPy and torch (CPU and device) are as before."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
