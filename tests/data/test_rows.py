"""Splits that stay on disk: the same rows as in memory, by block, and a sentence for whatever befalls their files."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.conftest import FRACTIONS
from winnow.core.errors import Refused
from winnow.data import decoded as decoded_module
from winnow.data import rows as rows_module
from winnow.data.decoded import Limit, size_of
from winnow.data.inputs.images import smaller
from winnow.data.loaders import Batches, Cursor, in_order, join, open_split, subset
from winnow.data.prepare import prepare_splits
from winnow.data.storage import read_manifest
from winnow.tasks.classify import IMAGES
from winnow.tasks.clicks import CLICKS


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Five digits a block, four blocks a window: 160 rows are 32 blocks."""
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 5 * 64)
    monkeypatch.setattr(rows_module, "WINDOW", 4)


def opened(folder: Path, name: str = "weights", said: list | None = None, **more):
    limit = Limit(0, folder.parent / "decoded", [].append if said is None else said.append)
    return open_split(folder, name, IMAGES, stage="evaluate", limit=limit, **more)


def pairs(x: torch.Tensor, y: torch.Tensor) -> list[tuple[bytes, int]]:
    return [(image.contiguous().numpy().tobytes(), int(label)) for image, label in zip(x, y, strict=True)]


def batches(split, seed: int = 0, batch: int = 8, **more) -> Batches:
    return Batches(split, batch, generator=torch.Generator().manual_seed(seed), **more)


def test_every_row_comes_once_an_epoch_and_epochs_differ(digits_folder):
    whole, split = open_split(digits_folder, "weights", IMAGES, stage="search"), opened(digits_folder)
    assert split.on_disk == ["image"]
    assert not whole.on_disk
    given = batches(split, drop_last=False)
    epochs = [[pair for x, y in given for pair in pairs(x, y)] for _ in range(2)]
    known = sorted(pair for x, y in in_order(whole, 16) for pair in pairs(x, y))
    assert [sorted(epoch) for epoch in epochs] == [known, known]
    assert epochs[0] != epochs[1]
    assert known == sorted(pair for x, y in in_order(split, 16) for pair in pairs(x, y))
    again = [pair for x, y in batches(opened(digits_folder), drop_last=False) for pair in pairs(x, y)]
    assert again == epochs[0]


def test_rows_are_mixed_by_block(digits_folder):
    split = opened(digits_folder)
    order = split.order(torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(len(split)))
    blocks = order // 5
    assert [len(set(window.tolist())) for window in blocks.split(20)] == [4] * 8  # four whole blocks at a time
    assert any(len(set(batch.tolist())) > 2 for batch in blocks.split(5))
    labels = split.answers.split(5)
    assert np.mean([len(set(each.tolist())) for each in labels]) > 3  # what lies together on disk has nothing in common


def test_an_epoch_goes_on_where_it_was_left(digits_folder):
    whole = list(Cursor(batches(opened(digits_folder))).epoch())
    cursor = Cursor(batches(opened(digits_folder)))
    for _ in zip(range(7), cursor.epoch(), strict=False):
        pass
    state = cursor.state()
    resumed = Cursor(batches(opened(digits_folder), seed=5))
    resumed.restore(state)
    rest = list(resumed.epoch())
    assert len(rest) == len(whole) - state["taken"]
    for (x, y), (x2, y2) in zip(whole[state["taken"] :], rest, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_several_processes_share_the_batches_of_one(digits_folder):
    split = opened(digits_folder)
    alone = list(batches(split))
    shares = [list(batches(split, part=(which, 2))) for which in (0, 1)]
    for (x, y), (x0, y0), (x1, y1) in zip(alone, *shares, strict=True):
        assert torch.equal(x, torch.cat([x0, x1]))
        assert torch.equal(y, torch.cat([y0, y1]))


def test_joined_splits_and_a_few_of_their_rows(digits_folder):
    both = join([opened(digits_folder, name) for name in ("weights", "arch")])
    assert both.columns["image"].shape == (len(both), 1, 8, 8)
    parts = [opened(digits_folder, name).columns["image"] for name in ("weights", "arch")]
    every = torch.cat([part.index_select(0, torch.arange(len(part))) for part in parts])
    rows = torch.randperm(len(both), generator=torch.Generator().manual_seed(0))[:90]
    assert torch.equal(both.columns["image"].index_select(0, rows), every[rows])
    for column in both.columns.values():
        if not isinstance(column, torch.Tensor):
            column.most = 90 * 64
    few = subset(both, rows)
    assert not few.on_disk
    assert torch.equal(few.columns["image"], every[rows])
    assert torch.equal(few.answers, both.answers[rows])
    with pytest.raises(Refused, match=r"91 rows are asked for in memory, 0.00 GiB, and the splits are over data.mem"):
        subset(both, torch.arange(91))


def test_it_is_decoded_once_and_again_when_the_split_is_another(digits_folder):
    said: list[str] = []
    first = opened(digits_folder, said=said)
    opened(digits_folder, said=said)
    assert len(said) == 1
    assert "decoding split weights" in said[0]
    assert "160 rows" in said[0]
    prepare_splits(digits_folder, IMAGES, source="digits", seed=4, fractions=FRACTIONS, test_fraction=0.2)
    before = pairs(*next(iter(in_order(first, 16))))
    opened(digits_folder, said=said)
    assert len(said) == 2
    assert pairs(*next(iter(in_order(first, 16)))) == before  # whoever has it open keeps what it had


def test_only_what_is_over_the_limit_is_on_disk(digits_folder, tmp_path):
    manifest = read_manifest(digits_folder)
    size = size_of(digits_folder, manifest, ["image"])
    assert size == 400 * 64
    for most, on_disk in ((size, []), (size - 1, ["image"])):
        limit = Limit(most, tmp_path / "decoded")
        assert open_split(digits_folder, "arch", IMAGES, stage="search", limit=limit).on_disk == on_disk


def test_a_file_cut_short_is_decoded_again(digits_folder):
    said: list[str] = []
    want = pairs(*next(iter(in_order(opened(digits_folder), 16))))
    (file,) = (digits_folder.parent / "decoded").glob("*.rows")
    os.truncate(file, 1000)
    assert pairs(*next(iter(in_order(opened(digits_folder, said=said), 16)))) == want
    assert f"{file} has 1000 of {160 * 64} bytes: decoding split weights again" in said[0]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda file: os.truncate(file, 1000),
            r"was cut short while it was read \(1000 of 10240 bytes are left\): run",
        ),
        (lambda file: file.write_bytes(b"\x07" * 10240), r"has changed since it was decoded \(block 0\): run the same"),
    ],
)
def test_a_file_that_is_spoilt_while_it_is_read_is_a_sentence(digits_folder, spoil, sentence):
    split, want = opened(digits_folder), [pairs(*each) for each in in_order(opened(digits_folder), 16)]
    (file,) = (digits_folder.parent / "decoded").glob("*.rows")
    spoil(file)
    with pytest.raises(Refused, match=sentence):
        list(in_order(split, 16))
    assert [pairs(*each) for each in in_order(opened(digits_folder), 16)] == want  # nothing is lost


def test_other_labels_or_another_split_are_refused(digits_folder):
    opened(digits_folder)
    (digits_folder / "arch.parquet").replace(digits_folder / "weights.parquet")
    with pytest.raises(Refused, match=r"weights.parquet is not the file its manifest describes \(other content\)"):
        opened(digits_folder)
    assert not list((digits_folder.parent / "decoded").glob("*.part"))
    (digits_folder / "weights.parquet").write_bytes(b"PAR1")
    with pytest.raises(Refused, match=r"weights.parquet is no whole Parquet file"):
        opened(digits_folder)


def test_a_full_disk_is_a_sentence(digits_folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for function in ("posix_fallocate", "pwrite"):
        with monkeypatch.context() as patched:
            patched.setattr(decoded_module.os, function, full)
            with pytest.raises(Refused, match=r"cannot decode split weights \(0 MiB\) to .*: No space left on device"):
                opened(digits_folder)
        assert sorted(path.name for path in (digits_folder.parent / "decoded").iterdir()) == ["lock"]
    assert len(opened(digits_folder)) == 160


def test_a_folder_that_cannot_be_written_to_is_a_sentence(digits_folder, monkeypatch):
    def shut(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", shut)
    with pytest.raises(Refused, match=r"cannot write to .*decoded \(Read-only file system\), where splits over data"):
        opened(digits_folder)


def test_a_file_where_the_folder_should_be_is_a_sentence(digits_folder):
    (digits_folder.parent / "decoded").write_text("")
    with pytest.raises(Refused, match=r"cannot write to .*decoded \(File exists\), where splits over data.memory_gib"):
        opened(digits_folder)


def test_what_takes_all_in_memory_is_refused(digits_folder):
    with pytest.raises(Refused, match=r"a smaller resolution takes all of column 'image' in memory, and the splits"):
        smaller(opened(digits_folder), 2)


def test_a_file_system_that_cannot_reserve_room_is_taken_at_its_word(digits_folder, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(decoded_module.os, "posix_fallocate", unsupported)
    assert len(list(batches(opened(digits_folder)))) == 20


def test_rows_of_a_table_stay_on_disk_too(tmp_path):
    cells = np.stack([np.arange(200) % 7, np.arange(200) % 5, np.linspace(0, 1, 200)], 1)
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"a": cells[:, 0].astype(int), "b": cells[:, 1].astype(int), "c": cells[:, 2], "label": np.arange(200) % 2}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    prepare_splits(
        tmp_path / "splits",
        CLICKS,
        source="table_parquet",
        path=tmp_path / "t.parquet",
        label_column="label",
        seed=0,
        fractions=FRACTIONS,
        test_fraction=0.2,
        own={"categorical": ["a", "b"], "dense": ["c"]},
    )
    limit = Limit(0, tmp_path / "decoded")
    splits = [open_split(tmp_path / "splits", "weights", CLICKS, stage="search", limit=each) for each in (limit, None)]
    assert splits[0].on_disk
    assert not splits[1].on_disk
    rows = [sorted(pair for x, y in in_order(split, 16) for pair in pairs(x, y)) for split in splits]
    assert rows[0] == rows[1]
