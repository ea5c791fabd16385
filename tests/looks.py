"""On the meta device nothing has a value: whoever asks for one is found out, as on a GPU he would wait for it."""

import sys
from collections import Counter
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import winnow

HOME = Path(winnow.__file__).parent
ITEM, COPY = torch.ops.aten._local_scalar_dense.default, torch.ops.aten._to_copy.default


class Looks(TorchDispatchMode):
    """Inside, a question for a value of a meta tensor is answered: yes, 1.0, 0; who asked is counted.

    `in_steps` are those inside of a training step, `elsewhere` the others, by file and function. What a device cannot
    compute without a look, such as the places of what is not zero, still raises: shapes would hang on values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_steps: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        of_meta = bool(args) and isinstance(args[0], torch.Tensor) and args[0].is_meta
        if of_meta and function is ITEM:
            self._count()
            return True if args[0].dtype == torch.bool else 1.0 if args[0].is_floating_point() else 0
        if of_meta and function is COPY and str(kwargs.get("device")) == "cpu":
            self._count()
            return torch.full(args[0].shape, 0.5).to(kwargs.get("dtype") or args[0].dtype)
        return function(*args, **kwargs)

    def _count(self) -> None:
        frame, asked, inside = sys._getframe(2), "", False
        while frame is not None:
            path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
            if HOME in path.parents:
                asked = asked or f"{path.relative_to(HOME)}:{name}"
                inside = inside or name in ("step", "stepped")
            frame = frame.f_back
        (self.in_steps if inside else self.elsewhere)[asked] += 1
