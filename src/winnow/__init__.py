"""winnow: neural architecture search as a pipeline that anyone can rerun.

The command line runs the pipeline; this is its library. Names below come when they are asked for, so `import winnow`
costs nothing.

    >>> import random, torch, winnow
    >>> space = winnow.build("nas_bench_201", {"channels": 4}, classes=10, image_channels=3, image_size=32)
    >>> space.count()
    15625
    >>> arch = space.decide(winnow.uniform(random.Random(0)))
    >>> arch.to_json()
    '{"1<-0":"nor_conv_3x3","2<-0":"nor_conv_3x3","2<-1":"none","3<-0":"nor_conv_1x1","3<-1":"avg_pool_3x3","3<-2":"nor_conv_3x3"}'
    >>> child = space.derive(arch)  # an ordinary network, with the weights it had in the space
    >>> child(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])

A retrained network: `model, about = winnow.load_model("artifacts/model.safetensors")`.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_WHERE = {
    "winnow.core.architecture": ("Architecture",),
    "winnow.core.choosers": ("crossover", "mutate", "sample", "uniform"),
    "winnow.core.decision": ("Decision", "Number"),
    "winnow.core.holes": ("Choice", "Hole"),
    "winnow.core.replace": ("replace",),
    "winnow.core.space": ("Space",),
    "winnow.core.errors": ("Refused",),
    "winnow.holes.depth": ("Depth",),
    "winnow.holes.elastic": ("Conv", "Linear", "Norm"),
    "winnow.measure.cost": ("macs", "params"),
    "winnow.proxies": ("PROXIES", "score"),
    "winnow.run.model": ("load_model", "prepared"),
    "winnow.search.bench": ("Bench", "Found"),
    "winnow.search.bilevel": ("bilevel",),
    "winnow.search.methods": ("STRATEGIES",),
    "winnow.search.mixture": ("Parts",),
    "winnow.search.recipe": ("Recipe",),
    "winnow.search.selection": ("selection",),
    "winnow.search.strategy": ("strategy",),
    "winnow.spaces": ("SPACES", "build"),
}
_NAMES = {name: module for module, names in _WHERE.items() for name in names}
__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'winnow' has no {name!r}; it has {', '.join(sorted(_NAMES))}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
