"""Becomes `sitecustomize.py` of the vLLM environment: declares two operators of torchvision before its import.

The torchvision that vLLM 0.32.0 for CPUs brings is built for another torch: it loads no operators, and fails as soon
as it describes them. An import hook is needed because vLLM starts processes of its own.
"""

import sys
from importlib.abc import MetaPathFinder


class _BeforeTorchvision(MetaPathFinder):
    library = None

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision" and self.library is None:
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self.library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, _BeforeTorchvision())
