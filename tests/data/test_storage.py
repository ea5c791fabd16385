import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.data.prepare import prepare_splits
from winnow.data.schema import SPLITS
from winnow.data.storage import read_manifest, write_splits
from winnow.tasks.classify import IMAGES

FRACTIONS = {"weights": 0.5, "arch": 0.25, "select": 0.25}


def refusal(folder, name="weights") -> str:
    with pytest.raises(Refused) as refused:
        open_split(folder, name, IMAGES, stage="evaluate")
    return str(refused.value)


def snapshot(folder) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def test_manifest_describes_the_files(digits_folder):
    manifest = read_manifest(digits_folder)
    assert sorted(snapshot(digits_folder)) == sorted([f"{name}.parquet" for name in SPLITS] + ["manifest.json"])
    assert (manifest["source"], manifest["facts"]["shape"], manifest["facts"]["symmetric"]) == (
        "digits",
        [1, 8, 8],
        False,
    )
    assert manifest["duplicates"] == {"dropped_from_train": 0, "kept_together": 0}
    for name in SPLITS:
        table = pq.read_table(digits_folder / f"{name}.parquet")
        assert manifest["splits"][name]["rows"] == len(table)


def test_mean_and_std_are_those_of_weights_and_arch(tmp_path, write_parquet):
    file = write_parquet(tmp_path / "train.parquet", [0, 1, 2, 3] * 10)
    settings = {"source": "parquet", "path": file, "seed": 0, "test_fraction": 0.2}
    manifest = prepare_splits(tmp_path / "out", IMAGES, fractions=FRACTIONS, **settings)
    splits = [open_split(tmp_path / "out", name, IMAGES, stage="search") for name in ("weights", "arch")]
    pixels = np.concatenate([split.columns["image"].numpy() for split in splits]) / 255
    assert manifest["facts"]["mean"] == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert manifest["facts"]["std"] == pytest.approx(pixels.std((0, 2, 3)).tolist(), abs=1e-12)


def test_the_same_data_gives_the_same_files(digits_folder, tmp_path):
    prepare_splits(
        tmp_path / "again", IMAGES, source="digits", seed=3, fractions=FRACTIONS, test_fraction=0.2, limit_train=400
    )
    assert snapshot(tmp_path / "again") == snapshot(digits_folder)


def test_missing_files_are_refused(digits_folder, tmp_path):
    assert "manifest.json is missing; run the prepare stage first" in refusal(tmp_path / "nowhere")
    (digits_folder / "weights.parquet").unlink()
    assert "weights.parquet is missing; run the prepare stage again" in refusal(digits_folder)


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:-1], lambda b: b"PAR1"])
def test_broken_files_are_refused(digits_folder, spoil):
    file = digits_folder / "weights.parquet"
    file.write_bytes(spoil(file.read_bytes()))
    assert "weights.parquet is no whole Parquet file" in refusal(digits_folder)


def test_one_changed_pixel_is_refused(digits_folder):
    file = digits_folder / "weights.parquet"
    table = pq.read_table(file)
    images = [bytes([image[0] ^ 1]) + image[1:] for image in table["image"].to_pylist()]
    pq.write_table(table.set_column(0, table.schema.field("image"), pa.array(images, pa.binary(64))), file)
    assert "is not the file its manifest describes (other content)" in refusal(digits_folder)


def test_fewer_rows_and_foreign_schemas_are_refused(digits_folder):
    file = digits_folder / "weights.parquet"
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    assert f"has {len(table) - 1} rows, its manifest says {len(table)}" in refusal(digits_folder)
    pq.write_table(table.drop_columns(["hash"]), file)
    assert "column 'hash' must be fixed_size_binary[16], found nothing" in refusal(digits_folder)
    pq.write_table(pa.table({"a": [1]}), file)
    assert "is not a split of format 2 (format found: none)" in refusal(digits_folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "not a manifest of format 2"),
        ('{"format": 0}', "of format 2"),
        ('{"format": 1}', "is of format 1, of an older winnow: run `winnow prepare` again"),
        ('{"format": 2}', "is damaged: it is not what prepare wrote"),
    ],
)
def test_broken_manifests_are_refused(digits_folder, text, message):
    (digits_folder / "manifest.json").write_text(text)
    assert message in refusal(digits_folder)


@pytest.mark.parametrize("full", ["weights.parquet", "test.parquet", "manifest.json"])
def test_a_full_disk_changes_nothing(digits_folder, full):
    """The file being written is led to a device that is always full: the error is the real one."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    before = snapshot(digits_folder)
    tables = {name: pq.read_table(digits_folder / f"{name}.parquet").slice(1) for name in SPLITS}
    (digits_folder / f".{full}.part").symlink_to("/dev/full")
    with pytest.raises(Refused, match=r"cannot write the splits .*: No space left on device; nothing was changed"):
        write_splits(tables, {"format": 1, "text": "x" * 100_000}, digits_folder)
    assert snapshot(digits_folder) == before


def test_an_interrupt_leaves_no_half_written_files(digits_folder, monkeypatch):
    before = snapshot(digits_folder)
    tables = {name: pq.read_table(digits_folder / f"{name}.parquet").slice(1) for name in SPLITS}

    def interrupted(table, path, real=pq.write_table, **settings):
        if "select" in path.name:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        real(table, path, **settings)

    monkeypatch.setattr(pq, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_splits(tables, json.loads("{}"), digits_folder)
    assert snapshot(digits_folder) == before


def test_a_folder_that_cannot_be_made_is_refused(digits_folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Refused, match=r"cannot make the folder .*: Not a directory"):
        write_splits({}, {}, tmp_path / "file" / "splits")
