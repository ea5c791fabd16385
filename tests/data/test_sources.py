import io
import sys
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks import omniglot as made
from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources import SOURCES, load_source, omniglot

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


def test_omniglot_is_whole_and_no_drawer_is_in_both_parts():
    source = load_source("omniglot", Options())
    train, test = source.train, source.test
    assert train.columns["image"].shape == test.columns["image"].shape == (1170, 1, 14, 14)
    assert np.bincount(train.columns["label"]).tolist() == np.bincount(test.columns["label"]).tolist() == [10] * 117
    assert (set(train.groups.tolist()), set(test.groups.tolist())) == (set(range(10)), set(range(10, 20)))
    assert source.facts["classes"][0] == "Balinese/character01"
    assert not source.facts["symmetric"]
    assert 0 < train.columns["image"].mean() < 64, "ink is bright, and most of a page is empty"
    few = load_source("omniglot", Options(limit_train=468, limit_test=117, image_size=8))
    assert (few.train.columns["image"].shape, few.test.columns["image"].shape) == ((468, 1, 8, 8), (117, 1, 8, 8))


def test_another_file_in_the_place_of_omniglots_is_refused(tmp_path, monkeypatch):
    table = pq.read_table(omniglot.FILE)
    pq.write_table(table.slice(1), tmp_path / "omniglot.parquet")
    monkeypatch.setattr(omniglot, "FILE", tmp_path / "omniglot.parquet")
    with pytest.raises(Refused, match="is not the file that came with winnow; install it again"):
        load_source("omniglot", Options())
    (tmp_path / "omniglot.parquet").write_bytes(b"PAR1")
    with pytest.raises(Refused, match="is no whole Parquet file"):
        load_source("omniglot", Options())


def test_omniglots_pixels_come_of_its_own_archives(tmp_path):
    """benchmarks/omniglot.py: black on white, a drawer in each name; averaged over areas, turned bright on dark."""
    page = np.full((105, 105), 255, np.uint8)
    page[:15, :15] = 0  # two of fourteen rows and columns
    content = io.BytesIO()
    Image.fromarray(page).convert("1").save(content, "PNG")
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        archive.writestr("images_background_small1/Greek/character02/0391_12.png", content.getvalue())
        archive.writestr("images_background_small1/Korean/character02/0391_12.png", content.getvalue())
        archive.writestr("images_background_small1/Greek/character02/notes.txt", "")
    ((character, drawer, pixels),) = made.drawings([tmp_path / "small.zip"] * 2)
    assert (character, drawer) == ("Greek/character02", 11)
    image = np.frombuffer(pixels, np.uint8).reshape(14, 14)
    assert (image[:2, :2] == 255).all()
    assert image.sum() == 4 * 255


def test_own_source(own_module):
    source = load_source(f"{own_module}:build", Options(seed=4))
    assert source.train.rows.tolist() == list(range(20))
    assert source.train.columns["label"].tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "digit",
            "no data.source 'digit'; nearest: 'digits' (known: omniglot, digits, parquet, cifar10, cifar100, svhn",
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
