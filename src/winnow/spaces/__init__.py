"""Published search spaces by name, and any other by dotted path."""

import difflib
import inspect
import keyword
from collections.abc import Callable, Iterable, Mapping

from winnow.core.dotted import function_at
from winnow.core.errors import Refused, blamed
from winnow.core.space import Space
from winnow.spaces.auto import auto
from winnow.spaces.cream import cream
from winnow.spaces.darts import darts
from winnow.spaces.detector import detector
from winnow.spaces.ensemble import ensemble
from winnow.spaces.factorised import factorised
from winnow.spaces.fixed import fixed
from winnow.spaces.fpn import fpn
from winnow.spaces.interactions import interactions
from winnow.spaces.macro import macro
from winnow.spaces.mobile import mobile
from winnow.spaces.multibranch import multibranch
from winnow.spaces.nas_bench_101 import nas_bench_101
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.spaces.ofa import ofa
from winnow.spaces.resnet import resnet
from winnow.spaces.vit import vit

SPACES: dict[str, Callable[..., Space]] = {
    "cream": cream,
    "darts": darts,
    "detector": detector,
    "ensemble": ensemble,
    "factorised": factorised,
    "fpn": fpn,
    "interactions": interactions,
    "macro": macro,
    "mobile": mobile,
    "multibranch": multibranch,
    "nas_bench_101": nas_bench_101,
    "nas_bench_201": nas_bench_201,
    "ofa": ofa,
    "resnet": resnet,
    "vit": vit,
}

# What a builder may be told of the data and of what its network is for; all else that it takes is an option
FACTS = (
    *("classes", "image_channels", "image_size", "image_height", "image_width", "fields", "dense"),
    *("final", "auxiliary"),
)

AUTO = "auto"  # none of winnow's own: a user's network, whose values are those that it has
FIXED = "fixed"  # a network as it is, to compare with: there is nothing to search


def builder(name: str) -> Callable[..., Space]:
    """The function that builds space `name`: a key of `SPACES` or "package.module:function". Refused otherwise."""
    if name in SPACES:
        return SPACES[name]
    if name in (AUTO, FIXED):
        return auto if name == AUTO else fixed
    if ":" not in name:
        known = ", ".join([*SPACES, AUTO])
        raise Refused(f"no space {name!r}: known are {known}, and 'my_package.my_module:build'{_meant(name, SPACES)}")
    return function_at(name, f"space {name!r}")


def build(name: str, options: Mapping[str, object], **facts: object) -> Space:
    """Space `name` with the user's `options` and those `facts` (classes, image_channels, image_size, final, ...) that
    its builder takes. Refused where the builder does not know an option, does not accept a value or builds no space.
    """
    build_space = builder(name)
    accepted = inspect.signature(build_space).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    options = {f"{key}_" if keyword.iskeyword(key) else key: value for key, value in options.items()}
    for key in options:
        if key not in accepted and not takes_all:
            taken = [each.rstrip("_") for each in accepted]
            listed = ", ".join(taken) or "none"
            raise Refused(f"space {name!r} has no option {key!r}: it takes {listed}{_meant(key, taken)}")
    known = {key: value for key, value in facts.items() if takes_all or key in accepted}
    said = f" with {dict(options)}" if options else ""
    if isinstance(size := known.get("image_size"), tuple) and "image_size" not in options:
        said += f" for images that are not square (image_size is {size}; take image_height and image_width)"
    with blamed(f"space {name!r}{said}"):
        space = build_space(**{**known, **options})
    if not isinstance(space, Space):
        raise Refused(f"space {name!r} must return a winnow Space, not {type(space).__name__}")
    return space


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
