import sys

import pytest

from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources import SOURCES, load_source

OWN = """
import numpy as np
from winnow.data.source import Part, Source

def build(options):
    images = np.random.default_rng(options.seed).integers(0, 256, (20, 1, 6, 6), np.uint8)
    return Source(Part({"image": images, "label": np.arange(20) % 2}), None, {"classes": ["even", "odd"]})

def wrong(options):
    return 7

def broken(options):
    return {}["no such key"]

def leaves(options):
    raise SystemExit(1)

NUMBER = 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_source_for_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_source_for_a_test"
    sys.modules.pop("own_source_for_a_test", None)


def test_digits_are_the_bundled_ones():
    source = load_source("digits", Options())
    assert source.train.columns["image"].shape == (1797, 1, 8, 8)
    assert (source.train.columns["image"].min(), source.train.columns["image"].max()) == (0, 255)
    assert source.train.columns["image"][0, 0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16
    assert not source.facts["symmetric"]
    assert source.test is None
    assert load_source("digits", Options(image_size=12, limit_train=50)).train.columns["image"].shape == (50, 1, 12, 12)


def test_own_source(own_module):
    source = load_source(f"{own_module}:build", Options(seed=4))
    assert source.train.rows.tolist() == list(range(20))
    assert source.train.columns["label"].tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "digit",
            "no data.source 'digit'; nearest: 'digits' (known: digits, parquet, cifar10, cifar100, svhn",
        ),
        ("own_source_for_a_test:wrong", "must return a winnow.data.source.Source, not int"),
        ("own_source_for_a_test:broken", "KeyError: 'no such key'\n  "),
        ("own_source_for_a_test:broken", ': return {}["no such key"]'),
        ("own_source_for_a_test:leaves", ": raise SystemExit(1)"),
        ("own_source_for_a_test:NUMBER", "has no function 'NUMBER'"),
        ("own_source_for_a_test:", "is no dotted path"),
        ("own_source_for_a_test:missing", "module 'own_source_for_a_test' has no function 'missing'"),
        ("no_such_module:build", "no module 'no_such_module' beside params.yaml"),
    ],
)
def test_wrong_names_are_refused(own_module, name, message):
    with pytest.raises(Refused) as refused:
        load_source(name, Options())
    assert message in str(refused.value)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_says_what_it_is(name):
    assert SOURCES[name].__doc__
