import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.splits import image_split, told
from winnow.core.errors import Refused
from winnow.data.inputs.images import Augment, Images
from winnow.data.loaders import READERS, Batches, Cursor, Split, join, open_split, subset
from winnow.data.schema import SPLITS
from winnow.tasks.classify import IMAGES


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def split() -> Split:
    """30 images 3x8x8; the label is the image's number, so that a batch tells where it came from."""
    images = torch.randint(0, 256, (30, 3, 8, 8), generator=seeded(7), dtype=torch.uint8)
    mean, std = (images.double() / 255).mean((0, 2, 3)), (images.double() / 255).std((0, 2, 3))
    names = tuple(map(str, range(30)))
    return image_split(images, torch.arange(30), names, mean=mean.tolist(), std=std.tolist())


def test_opened_splits_hold_the_data(digits_folder):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    seen = {}
    for name in SPLITS:
        split = open_split(digits_folder, name, IMAGES, stage="evaluate")
        assert (split.columns["image"].dtype, split.answers.dtype) == (torch.uint8, torch.int64)
        assert split.columns["image"].shape == (len(split), 1, 8, 8)
        for image, label in zip(split.columns["image"], split.answers, strict=True):
            seen[image.numpy().tobytes()] = int(label)
    known = {
        (image * 255 / 16).round().astype("uint8").tobytes(): int(label)
        for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    assert len(seen) == 400
    assert seen.items() <= known.items()


def test_test_split_is_for_evaluate_alone(digits_folder):
    for stage in (*READERS, "prepare", "x"):
        if stage == "evaluate":
            assert len(open_split(digits_folder, "test", IMAGES, stage=stage)) == 80
        else:
            with pytest.raises(Refused):
                open_split(digits_folder, "test", IMAGES, stage=stage)
    with pytest.raises(Refused, match=r"stage 'retrain' may not read split 'test'; only evaluate may"):
        open_split(digits_folder, "test", IMAGES, stage="retrain")


def test_who_reads_what():
    readers = {name: {stage for stage, names in READERS.items() if name in names} for name in SPLITS}
    assert readers["test"] == {"evaluate"}
    assert readers["select"] == {"select", "tune", "retrain", "evaluate"}  # never what trains the supernet


def test_unknown_splits_and_stages_are_refused(digits_folder):
    with pytest.raises(Refused, match=r"no split 'weight'; nearest: 'weights'"):
        open_split(digits_folder, "weight", IMAGES, stage="search")
    with pytest.raises(Refused, match=r"stage 'serch' reads no split"):
        open_split(digits_folder, "weights", IMAGES, stage="serch")


def test_join_puts_one_after_the_other(split):
    other = replace(split, name="arch", columns={**split.columns, "image": split.columns["image"].flip(0)}, digest="d2")
    both = join([split, other])
    assert both.name == "weights+arch"
    assert torch.equal(both.columns["image"], torch.cat([split.columns["image"], other.columns["image"]]))
    assert both.digest not in (split.digest, join([other, split]).digest)
    with pytest.raises(ValueError, match="differ in their columns or facts"):
        join([split, subset(split, slice(None), image=split.columns["image"][..., :4])])
    with pytest.raises(ValueError, match="differ in their columns or facts"):
        join([split, told(split, symmetric=False)])


def test_an_epoch_shows_every_image_once_normalised(split):
    batches = Batches(split, 10, generator=seeded(1))
    x, y = map(torch.cat, zip(*batches, strict=True))
    assert sorted(y.tolist()) == list(range(30))
    assert y.tolist() != list(range(30))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (split.facts["mean"], split.facts["std"]))
    assert torch.allclose(x, (split.columns["image"][y].float() / 255 - mean) / std, atol=1e-5)
    assert x.dtype == torch.float32
    assert x.mean().abs() < 0.01


def test_iterating_again_gives_another_order(split):
    batches = Batches(split, 10, generator=seeded(1))
    orders = [torch.cat([y for _, y in batches]).tolist() for _ in range(3)]
    assert len(set(map(tuple, orders))) == 3
    first, second = (next(iter(batches))[1].tolist() for _ in range(2))
    assert first != second  # taking a first batch again and again must not give the same one for ever


def test_lengths_and_last_batches(split):
    def sizes(**settings):
        batches = Batches(split, 8, generator=seeded(), **settings)
        found = [len(y) for _, y in batches]
        assert len(found) == len(batches)
        return found

    assert sizes() == [8, 8, 8]
    assert sizes(drop_last=False) == [8, 8, 8, 6]
    in_order = Batches(split, 8, generator=seeded(), shuffle=False, drop_last=False)
    assert torch.cat([y for _, y in in_order]).tolist() == list(range(30))
    assert len(Batches(split, 10, generator=seeded(), drop_last=False)) == 3


def test_state_is_all_that_a_resumed_run_needs(split):
    augment = Augment(pad=2, flip=True, cutout=3)
    batches = Batches(split, 10, generator=seeded(5), augment=Images(split.facts, augment))
    list(batches)
    state = batches.state()
    expected = list(batches) + list(batches)
    resumed = Batches(split, 10, generator=seeded(99), augment=Images(split.facts, augment))
    resumed.restore(state)
    for (x, y), (x2, y2) in zip(expected, list(resumed) + list(resumed), strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


@pytest.mark.parametrize("left", range(1, 8))
def test_a_cursor_goes_on_where_another_was_left(split, left):
    def batches(seed):
        return Batches(
            split, 10, generator=seeded(seed), augment=Images(split.facts, Augment(pad=2, flip=True, cutout=3))
        )

    whole, cursor = Cursor(batches(5)), Cursor(batches(5))
    expected = [whole.next() for _ in range(9)][left:]
    for _ in range(left):
        cursor.next()
    cursor.batches.batch = 7  # from the next epoch on
    whole.batches.batch = 10
    resumed = Cursor(batches(99))
    resumed.restore(cursor.state())
    assert resumed.batches.batch == 7
    assert resumed.taken == cursor.taken
    resumed.batches.batch = 10
    for (x, y), (x2, y2) in zip(expected, [resumed.next() for _ in range(9 - left)], strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_another_pass_over_the_batches_leaves_a_cursor_alone(split):
    batches = Batches(split, 10, generator=seeded(5))
    cursor = Cursor(batches)
    first = cursor.next()[1]
    list(batches)
    state = cursor.state()
    rest = [y for _, y in cursor.epoch()]
    resumed = Cursor(Batches(split, 10, generator=seeded(0)))
    resumed.restore(state)
    assert torch.equal(torch.cat(rest), torch.cat([y for _, y in resumed.epoch()]))
    assert sorted(torch.cat([first, *rest]).tolist()) == list(range(30))
    assert torch.equal(cursor.next()[1], resumed.next()[1])


def test_augmented_batches_differ_and_keep_their_labels(split):
    pixels = (split.answers[:, None, None, None] * 8 + 1).expand(30, 3, 8, 8).to(torch.uint8)
    marked = subset(split, slice(None), image=pixels)
    plain = Batches(marked, 30, generator=seeded(2))
    augmented = Batches(
        marked, 30, generator=seeded(2), augment=Images(split.facts, Augment(pad=2, flip=True, cutout=2))
    )
    (x, y), (x2, y2) = next(iter(plain)), next(iter(augmented))
    assert torch.equal(y, y2)  # augmentation is drawn after the order
    border = -torch.tensor(marked.facts["mean"]) / torch.tensor(marked.facts["std"])
    own = (x2 - x[:, :, :1, :1]).abs() < 1e-6
    black = (x2 - border.view(1, 3, 1, 1)).abs() < 1e-5
    assert (own | black | (x2 == 0)).all()
    assert own.any((1, 2, 3)).all()
    assert black.any()
    assert (x2 == 0).sum() >= 30 * 3  # a corner of each square at least, in all channels
    assert (x2 == 0).sum() <= 30 * 3 * 4


def test_channels_last_is_a_layout_only(split):
    augment = Augment(2, True, 4)
    plain = Batches(split, 10, generator=seeded(3), augment=Images(split.facts, augment))
    last = Batches(split, 10, generator=seeded(3), augment=Images(split.facts, augment), channels_last=True)
    for (x, _), (x2, _) in zip(plain, last, strict=True):
        assert x2.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(x, x2)


def test_next_goes_through_epoch_after_epoch(split):
    cursor = Cursor(Batches(split, 10, generator=seeded(1)))
    labels = [cursor.next()[1] for _ in range(7)]
    first, second = torch.cat(labels[:3]), torch.cat(labels[3:6])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(30))
    assert not torch.equal(first, second)


def test_a_constant_channel_is_zero_and_not_nan(split):
    flat = subset(split, slice(None), image=torch.full_like(split.columns["image"], 51))
    flat = told(flat, mean=[0.2] * 3, std=[0.0] * 3)
    x, _ = next(iter(Batches(flat, 10, generator=seeded())))
    assert x.isfinite().all()
    assert x.abs().max() < 1e-4


def test_too_few_images_are_refused(split):
    with pytest.raises(Refused, match=r"split 'weights' has 30 rows, fewer than one batch of 31"):
        Batches(split, 31, generator=seeded())
    assert len(Batches(split, 31, generator=seeded(), drop_last=False)) == 1


@pytest.mark.parametrize("augment", [Augment(pad=8), Augment(cutout=8), Augment(pad=-1)])
def test_augmentation_beyond_the_image_is_refused(split, augment):
    with pytest.raises(Refused, match="takes 0 to 7 pixels on images of side 8"):
        Images(split.facts, augment)


SUM_OF_BATCHES = """
import hashlib, torch
from winnow.data.inputs.images import Augment, Images
from winnow.data.loaders import Batches, Split
images = torch.arange(30 * 192).remainder(251).to(torch.uint8).view(30, 3, 8, 8)
facts = {"shape": [3, 8, 8], "mean": [0.5] * 3, "std": [0.2] * 3}
split = Split("weights", {"image": images, "label": torch.arange(30)}, "label", Images(facts), facts, "d")
augment = Images(facts, Augment(2, True, 3))
batches = Batches(split, 10, generator=torch.Generator().manual_seed(1), augment=augment)
found = hashlib.md5(b"".join(x.numpy().tobytes() for x, _ in batches)).hexdigest()
print(found)
"""


def test_batches_are_equal_in_another_process():
    """No hash seed, no global generator and no number of threads takes part."""
    here: dict = {}
    exec(SUM_OF_BATCHES, here)
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", SUM_OF_BATCHES]
    there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here["found"]


@pytest.mark.gpu
def test_a_gpu_sees_the_batches_of_a_cpu(split):
    augment = Images(split.facts, Augment(2, True, 4))
    there = replace(split, columns={name: values.cuda() for name, values in split.columns.items()})
    pairs = [
        Batches(s, 10, generator=seeded(1), augment=Images(split.facts, augment), channels_last=True)
        for s in (split, there)
    ]
    for (x, y), (x2, y2) in zip(*pairs, strict=True):
        assert x2.is_cuda
        assert torch.allclose(x, x2.cpu(), atol=1e-6)
        assert torch.equal(y, y2.cpu())
