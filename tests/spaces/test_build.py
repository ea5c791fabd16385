"""spaces: names, dotted paths and options, each refused in a sentence."""

import sys

import pytest
import torch

from winnow.core.errors import Refused
from winnow.data.inputs.images import facts_of, shape_of
from winnow.spaces import SPACES, build, builder

KNOWN = ", ".join(SPACES)
FACTS = {"classes": 7, "image_channels": 1, "image_size": 16, "final": False}

MODULE = """
from torch import nn
from winnow.core.holes import Choice
from winnow.core.space import Space

NUMBER = 3

def build(classes, width=2):
    return Space(nn.Sequential(Choice("a", {"x": nn.Linear(width, classes), "y": nn.Linear(width, classes)})))

def takes_all(**given):
    assert given["image_size"] == 16 and given["depth"] == 2
    return build(given["classes"])

def no_space():
    return nn.Linear(2, 2)

def broken(classes):
    raise ValueError("depth takes 1 or more, not 0")

def own_bug():
    return {}["key"]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "my_module.py").write_text(MODULE)
    (package / "needs_more.py").write_text("import a_module_nobody_has")
    (package / "attribute_error.py").write_text("import math; math.no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_package.my_module"
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        del sys.modules[name]


DETECTORS = {"detector", "fpn"}  # return boxes


@pytest.mark.parametrize("name", [name for name in SPACES if name not in DETECTORS])
def test_a_published_space_takes_the_facts_it_has_a_name_for(name):
    small = {
        "darts": {"channels": 2, "layers": 3},
        "ensemble": {"backbone": "macro", "width": 0.25},
        "factorised": {"channels": 2, "layers": 3},
        "macro": {"width": 0.25},
        "interactions": {},
        "mobile": {"width": 0.25},
        "nas_bench_101": {"channels": 4, "cells": 1},
        "nas_bench_201": {"cells": 1},
        "cream": {"width": 0.25, "layers": [1, 1, 1, 1, 1]},
        "multibranch": {"operations": ["lb3_t1"]},
        "ofa": {"width": 0.25, "depths": [1]},
        "resnet": {"width": 0.0625},
        "vit": {"size": "micro"},
    }[name]
    space = build(name, small, **FACTS)
    outputs = [m for m in space.modules() if hasattr(m, "out_features")]
    assert outputs[-1].out_features == 7


def test_an_option_of_the_user_goes_before_a_fact():
    space = build("nas_bench_201", {"cells": 1, "classes": 3}, **FACTS)
    assert space.model[-1].out_features == 3


def test_a_dotted_path_builds_a_users_space(mine):
    space = build(f"{mine}:build", {"width": 5}, **FACTS)
    assert space.model[0].candidates["x"].weight.shape == (7, 5)
    assert build(f"{mine}:takes_all", {"depth": 2}, **FACTS).count() == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dart", rf"no space 'dart': known are {KNOWN}.*; did you mean 'darts'\?"),
        ("nope", rf"known are {KNOWN}, auto, and 'my_package.my_module:build'$"),
        ("my_package.elsewhere:build", "no module 'my_package.elsewhere' beside params.yaml or on PYTHONPATH"),
        ("my_package.needs_more:build", "No module named 'a_module_nobody_has'\n.*, line 1: import a_module"),
        ("my_package.my_module:nothing", "module 'my_package.my_module' has no function 'nothing'"),
        ("my_package.my_module:NUMBER", "has no function 'NUMBER'"),
        ("my_package.my_module:", "is no dotted path"),
        (":build", "is no dotted path"),
        (".my_module:build", "is no dotted path"),
        ("my_package/my_module.py:build", "is no dotted path"),
        ("my_package.my_module:no_space", "must return a winnow Space, not Linear"),
        ("my_package.my_module:broken", "depth takes 1 or more, not 0"),
    ],
)
def test_a_name_that_builds_no_space_is_refused(mine, name, message):
    with pytest.raises(Refused, match=message):
        build(name, {}, **FACTS)


def test_a_users_own_bug_shows_its_line(mine):
    with pytest.raises(Refused, match=r"KeyError: 'key'\n.*my_module.py, line 22: return {}\["):
        build(f"{mine}:own_bug", {})
    with pytest.raises(Refused, match=r"AttributeError: .*no_such_thing.*\n.*line 1: import math; math.no_such_thing"):
        builder("my_package.attribute_error:build")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("darts", {"chanels": 3}, r"no option 'chanels': it takes channels, layers, .*; did you mean 'channels'\?"),
        ("darts", {"channels": 0}, "channels takes a whole number of 1 or more, not 0"),
        ("darts", {"channels": -1}, "channels takes a whole number of 1 or more, not -1"),
        ("darts", {"channels": "16"}, "channels takes a whole number of 1 or more, not '16'"),
        ("darts", {"channels": True}, "channels takes a whole number of 1 or more, not True"),
        ("darts", {"layers": 8.0}, "layers takes a whole number of 1 or more, not 8.0"),
        ("darts", {"layers": 2}, "layers takes 3 or more"),
        ("factorised", {"candidates": "s1"}, "candidates takes one of cifar, imagenet, not 's1'"),
        ("darts", {"candidates": "s5"}, "candidates takes one of darts, s1, s2, s3, s4, not 's5'"),
        ("nas_bench_201", {"cells": 0}, "cells takes a whole number of 1 or more, not 0"),
        ("nas_bench_201", {"channels": None}, "channels takes a whole number of 1 or more, not None"),
        ("mobile", {"width": 0}, "width takes a positive number, not 0"),
        ("mobile", {"width": float("nan")}, "width takes a positive number, not nan"),
        ("mobile", {"width": float("inf")}, "width takes a positive number, not inf"),
        ("mobile", {"width": "1"}, "width takes a positive number, not '1'"),
        ("mobile", {"width": 0.01}, "channels has none for its main branch"),
        ("mobile", {"image_size": 7}, "image_size takes 8 or more, not 7"),
        ("mobile", {"channels": [0.2, 0.4]}, "channels takes whole numbers of percent, 20 for a fifth, not"),
        ("mobile", {"channels": []}, "channels takes a list of different whole numbers of 1 or more"),
        ("resnet", {"depth": 50}, "depth takes 18 or 34, not 50"),
        ("resnet", {"bits": ["w2"]}, "bits take text like w2a4, .* of 1 to 8 each or 32"),
        ("resnet", {"bits": ["w9a4"]}, "bits take text like w2a4, .* of 1 to 8 each or 32"),
        ("resnet", {"bits": [2, 4]}, "bits take text like w2a4"),
        ("resnet", {"bits": []}, "bits takes a list such as"),
        ("resnet", {"bits": ["w2a4", "w2a4"]}, "bits takes each pair once"),
        ("resnet", {"clip": 0}, "clip takes a positive number, not 0"),
        ("resnet", {"width": -1}, "width takes a positive number, not -1"),
        ("resnet", {"channels": [1.5]}, "channels takes whole numbers of percent"),
    ],
)
def test_a_wrong_option_is_refused(name, options, message):
    with pytest.raises(Refused, match=message):
        build(name, options, **FACTS)


def test_a_builder_is_told_the_shape_of_the_images():
    assert facts_of([3, 16, 32]) == {"image_channels": 3, "image_height": 16, "image_width": 32, "image_size": (16, 32)}
    assert facts_of((1, 8, 8))["image_size"] == 8
    assert shape_of(facts_of([3, 16, 32])) == (3, 16, 32)


@pytest.mark.parametrize("name", [name for name in SPACES if name not in {"interactions", *DETECTORS}])  # tables
def test_a_published_space_takes_images_that_are_not_square(name):
    facts = {**FACTS, **facts_of((2, 12, 8)), "final": True, "auxiliary": True}
    small = {
        "nas_bench_101": {"channels": 4, "cells": 1},
        "nas_bench_201": {"channels": 4, "cells": 1},
        "darts": {"channels": 4, "layers": 3},
        "factorised": {"channels": 4, "layers": 3},
        "vit": {"size": "micro"},
    }
    space = build(name, small.get(name, {"width": 0.1}), **facts)
    model = space.derive(space.decide(lambda d: d.values[-1]))
    outputs = model(torch.rand(2, 2, 12, 8))
    for output in outputs if isinstance(outputs, tuple) else [outputs]:
        assert output.shape == (2, 7)


def test_the_mobile_space_halves_by_the_shorter_side():
    flat, square = (build("mobile", {"width": 0.1, "image_size": size}, **FACTS) for size in ((32, 8), 8))
    assert [c.stride for c in flat.modules() if hasattr(c, "stride")] == [
        c.stride for c in square.modules() if hasattr(c, "stride")
    ]
    with pytest.raises(Refused, match=r"image_size takes 8 or more, not \(32, 7\)"):
        build("mobile", {"image_size": (32, 7)}, **FACTS)
