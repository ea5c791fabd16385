"""One network's scores: among random children of its space, or a module of the user's own."""

import sys

import numpy as np
import pytest
from torch import nn

from winnow.core.errors import Refused
from winnow.proxies import PROXIES
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.tools.ranking import noise_batch
from winnow.tools.standing import module_at, scores_of, standing
from winnow.train.seeds import seeded

BATCH = noise_batch(4, (1, 8, 8), 0)


def test_an_architecture_among_random_ones():
    with seeded(0):
        space = nas_bench_201(channels=4, cells=1, classes=4, final=True)
    best = space.decide(lambda d: "nor_conv_3x3")
    rows = {row["proxy"]: row for row in standing(space, best, ("params", "snip"), noise_batch(4, (3, 8, 8), 0), 8, 0)}
    assert rows["params"]["beats"] == 1
    assert "needs labels" in rows["snip"]["reason"]
    assert np.isnan(rows["snip"]["score"])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def build(width=3): return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(),\n"
        "    nn.Conv2d(width, width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))\n"
        "def wide(width): return build(width)\n"
        "def number(): return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_networks", None)


def test_any_module_has_a_row_for_every_proxy(mine):
    rows = scores_of(module_at("my_networks:build", 0), list(PROXIES), BATCH, 0)
    assert [row["proxy"] for row in rows] == list(PROXIES)
    for row in rows:
        if PROXIES[row["proxy"]].needs == "labels":
            assert "needs labels" in row["reason"]
        else:
            assert np.isfinite(row["score"]), row


def test_weights_come_from_the_seed(mine):
    first, again, other = (scores_of(module_at("my_networks:build", s), ["synflow"], BATCH, 0) for s in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("my_networks:wide", r"needs arguments \(width\)"),
        ("my_networks:number", "must return a torch.nn.Module, not int"),
        ("my_networks:none", "has no function 'none'"),
        ("no_such_module:build", "no module 'no_such_module' beside params.yaml"),
        ("my networks:build", "is no dotted path"),
    ],
)
def test_what_is_no_network_is_a_sentence(mine, path, sentence):
    with pytest.raises(Refused, match=sentence):
        module_at(path, 0)


def test_another_input_shape_is_refused_before_any_proxy_runs():
    with pytest.raises(Refused, match=r"does not take images of shape \(4, 1, 8, 8\)"):
        scores_of(nn.Conv2d(3, 4, 3), ["params"], BATCH, 0)
