import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.core.errors import Refused
from winnow.data.source import Options
from winnow.data.sources.parquet import parquet
from winnow.data.sources.shards import NO_SPLIT, find_shards

LABELS = [0, 1, 2] * 4


def refusal(**options) -> str:
    with pytest.raises(Refused) as refused:
        parquet(Options(**options))
    return str(refused.value)


def test_one_file_is_training_data(write_parquet, tmp_path, random_images):
    file = write_parquet(tmp_path / "some.parquet", LABELS, names=["x", "y", "z"], image="img")
    source = parquet(Options(path=file))
    assert source.test is None
    assert tuple(source.facts["classes"]) == ("x", "y", "z")
    assert source.train.columns["label"].tolist() == LABELS
    assert (source.train.columns["image"] == random_images(12)).all()


def test_shards_are_read_in_order_and_the_test_set_apart(write_parquet, tmp_path, random_images):
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", [2, 2, 2], seed=2)
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", LABELS, seed=1)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [0, 1], seed=3)
    source = parquet(Options(path=tmp_path))
    assert (
        source.train.columns["image"] == np.concatenate([random_images(12, seed=1), random_images(3, seed=2)])
    ).all()
    assert source.train.columns["label"].tolist() == [*LABELS, 2, 2, 2]
    assert (source.test.columns["image"] == random_images(2, seed=3)).all()
    assert tuple(source.facts["classes"]) == ("0", "1", "2")


def test_roles_of_files(write_parquet, tmp_path):
    root = tmp_path / "train"  # the folder's own name says nothing
    names = ["train/0.parquet", "Validation/0.parquet", "trainer.parquet"]
    files = [write_parquet(root / name, [0]) for name in names]
    found = find_shards(root)
    assert (found.train, found.tests, found.left_out) == (files[:1], {"validation": files[1:2]}, {NO_SPLIT: 1})
    test = write_parquet(root / "train" / "TEST.parquet", [0])  # the file's name before the folder's, test before
    assert list(find_shards(root).tests.items()) == [("test", [test]), ("validation", files[1:2])]


def test_limits_decode_the_chosen_rows_only(write_parquet, tmp_path, random_images, monkeypatch):
    monkeypatch.setattr("winnow.data.sources.columns.ROWS_AT_ONCE", 5)
    write_parquet(tmp_path / "train-0.parquet", LABELS, seed=1)
    write_parquet(tmp_path / "train-1.parquet", LABELS, seed=2)
    write_parquet(tmp_path / "test.parquet", LABELS, seed=3)
    source = parquet(Options(path=tmp_path, limit_train=9, limit_test=3, seed=4))
    whole = np.concatenate([random_images(12, seed=1), random_images(12, seed=2)])
    assert len(source.train.rows) == 9
    assert source.train.rows.max() >= 12  # both files take part
    assert (source.train.columns["image"] == whole[source.train.rows]).all()
    assert (source.train.columns["label"] == np.array(LABELS * 2)[source.train.rows]).all()
    assert (source.test.columns["image"] == random_images(12, seed=3)[source.test.rows]).all()


def test_text_labels_give_the_classes(write_parquet, tmp_path):
    write_parquet(tmp_path / "train.parquet", pa.array(["dog", "cat", "dog"]).dictionary_encode())
    write_parquet(tmp_path / "test.parquet", ["cat", "dog"])
    source = parquet(Options(path=tmp_path))
    assert (tuple(source.facts["classes"]), source.train.columns["label"].tolist()) == (("cat", "dog"), [1, 0, 1])
    assert source.test.columns["label"].tolist() == [0, 1]
    write_parquet(tmp_path / "test.parquet", ["cat", "owl"])
    assert "label 'owl' is no class of the training data (cat, dog)" in refusal(path=tmp_path)


def test_digest_follows_the_files(write_parquet, tmp_path):
    file = write_parquet(tmp_path / "a.parquet", LABELS)
    digest = parquet(Options(path=file)).digest
    assert parquet(Options(path=write_parquet(tmp_path / "b.parquet", LABELS))).digest == digest
    assert parquet(Options(path=write_parquet(file, LABELS, seed=9))).digest != digest


def test_wrong_places_are_refused(write_parquet, tmp_path):
    assert "data.path is not set" in refusal()
    assert "does not exist" in refusal(path=tmp_path / "nowhere")
    assert "no .parquet file" in refusal(path=tmp_path)
    write_parquet(tmp_path / "data.parquet", LABELS)
    assert "no train*.parquet (found: data.parquet)" in refusal(path=tmp_path)


def test_wrong_columns_are_refused_with_the_nearest(write_parquet, tmp_path):
    file = write_parquet(tmp_path / "x.parquet", LABELS, image="imgs", label="y")
    assert "nearest: 'imgs' (columns: imgs, y); set data.image_column" in refusal(path=file)
    assert "no column 'label' or 'labels'" in refusal(path=file, image_column="imgs")
    assert "no column 'ys'; nearest: 'y'" in refusal(path=file, image_column="imgs", label_column="ys")
    assert parquet(Options(path=file, image_column="imgs", label_column="y")).train.columns["label"].tolist() == LABELS


def test_damaged_files_are_refused(write_parquet, tmp_path):
    file = write_parquet(tmp_path / "x.parquet", LABELS)
    whole = file.read_bytes()
    for data in (b"", b"hello", whole[: len(whole) // 2], whole[:-1]):
        file.write_bytes(data)
        assert "is no whole Parquet file" in refusal(path=file)
    spoilt = bytearray(whole)
    spoilt[4:200] = b"\xff" * 196  # inside the first column's pages; the footer is whole
    file.write_bytes(spoilt)
    assert "x.parquet" in refusal(path=file)


def test_bad_labels_are_refused(write_parquet, tmp_path):
    def with_labels(labels, **settings):
        return refusal(path=write_parquet(tmp_path / "x.parquet", labels, **settings))

    assert "1 label(s) out of range, the first is -1 at row 1" in with_labels([0, -1, 1])
    assert "the first is 3 at row 2; with 2 classes a label is 0 to 1" in with_labels([0, 1, 3], names=["a", "b"])
    assert "1 of 3 values in column 'label' are null" in with_labels([0, None, 1])
    assert "holds double; labels are whole numbers or names" in with_labels([0.0, float("nan")])
    assert "x.parquet has no rows" in with_labels(pa.array([], pa.int64()))


def test_files_with_two_kinds_of_labels_are_refused(write_parquet, tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [0, 1])
    write_parquet(tmp_path / "train-1.parquet", ["a", "b"])
    assert "column 'label' is int64 in one and string in another of 2 files" in refusal(path=tmp_path)


def test_bad_images_are_refused(write_parquet, tmp_path, encode):
    good = {"bytes": encode(np.zeros((8, 8), np.uint8))}

    def with_images(data):
        return refusal(path=write_parquet(tmp_path / "x.parquet", [0, 1], data=data))

    assert with_images([good, {"bytes": b"junk"}]).startswith("x.parquet, row 1: the image cannot be decoded")
    assert with_images([good, {"bytes": None}]).startswith("x.parquet, row 1: the image is null")
    assert with_images([good, None]).startswith("x.parquet, row 1: the image is null")
    assert "holds list<element: double>, bare numbers; images must be encoded" in with_images(
        [[0.5, float("nan")], [1.0, 2.0]]
    )
    assert "holds struct<path: string>, perhaps paths" in with_images([{"path": "a.png"}, {"path": "b.png"}])


def test_bare_binary_images_work(write_parquet, tmp_path, encode):
    data = [encode(np.full((8, 8), value, np.uint8)) for value in (1, 2)]
    source = parquet(Options(path=write_parquet(tmp_path / "x.parquet", [0, 1], data=data)))
    assert source.train.columns["image"][:, 0, 0, 0].tolist() == [1, 2]


def test_real_cifar10(real_cifar10):
    source = parquet(Options(path=real_cifar10, limit_train=200, limit_test=100))
    assert tuple(source.facts["classes"])[:2] == ("airplane", "automobile")
    assert source.train.columns["image"].shape == (200, 3, 32, 32)
    assert np.bincount(source.test.columns["label"]).tolist() == [10] * 10
    labels = pq.read_table(real_cifar10 / "train.parquet", columns=["label"])["label"].to_numpy()
    assert (labels[source.train.rows] == source.train.columns["label"]).all()
    assert 0.4 < source.train.columns["image"].mean() / 255 < 0.55


@pytest.mark.parametrize(
    "text", ["{x", "[1]", '{"info": 3}', '{"info": {"features": {"label": {"names": 7}}}}', "\xff"]
)
def test_damaged_class_names_are_a_sentence(write_parquet, tmp_path, text):
    file = write_parquet(tmp_path / "some.parquet", LABELS)
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), file)
    assert refusal(path=file) == "some.parquet: the names of its classes (schema metadata 'huggingface') are damaged"


def test_a_column_says_whose_an_image_is_and_no_group_is_torn_apart(write_parquet, tmp_path):
    file = write_parquet(tmp_path / "some.parquet", LABELS)
    table = pq.read_table(file)
    pq.write_table(table.append_column("drawer", pa.array([7, 9, 7, 8] * 3)), file)
    source = parquet(Options(path=file), group_column="drawer")
    assert source.train.groups.tolist() == ["7", "9", "7", "8"] * 3
    with pytest.raises(Refused, match=r"'draw'.*drawer"):
        parquet(Options(path=file), group_column="draw")
    write_parquet(tmp_path / "both" / "train.parquet", LABELS)
    write_parquet(tmp_path / "both" / "test.parquet", LABELS)
    with pytest.raises(Refused, match=r"3 group.s. are in the training files and in the test files"):
        parquet(Options(path=tmp_path / "both"), group_column="label")


def test_a_test_set_of_other_classes_is_read_where_it_is_asked_for(write_parquet, tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1, 1, 3])
    write_parquet(tmp_path / "test.parquet", [7, 1, 5, 7])
    assert "the label 7 is no class of the training data" in refusal(path=tmp_path)
    source = parquet(Options(path=tmp_path), new_classes=True)
    assert source.facts["classes"] == ["0", "1", "3", "5", "7"]
    assert source.train.columns["label"].tolist() == [0, 1, 1, 2]
    assert source.test.columns["label"].tolist() == [4, 1, 3, 4]
