import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.core.errors import Refused
from winnow.data.schema import (
    check_schema,
    columns_of,
    content_digest,
    fixed_binary,
    fixed_numpy,
    kinds_of,
    row_hashes,
    split_schema,
    stored,
)


def table_of(columns, facts):
    """A split whose network is given the first of the columns."""
    rows = len(next(iter(columns.values())))
    arrays = [
        *map(stored, columns.values()),
        pa.array(range(rows), pa.int64()),
        pa.array(["train"] * rows),
        fixed_binary(row_hashes(columns, list(columns)[:1])),
    ]
    return pa.table(arrays, schema=split_schema(kinds_of(columns), facts))


def labelled(images, labels):
    return {"image": images, "label": np.asarray(labels, np.int32)}


@pytest.fixture
def table(random_images):
    return table_of(labelled(random_images(50, (3, 4, 4)), np.arange(50) % 3), {"classes": ["a", "b", "c"]})


def test_digest_of_known_content_is_pinned():
    """The digest is a promise across versions; this number may change only together with FORMAT."""
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    table = table_of(labelled(images, [0, 1]), {"classes": ["a", "b"]})
    assert content_digest(table) == "3caa8a64fcc4c9972e4fc4e116e9277b"


def test_digest_sees_content_and_not_layout(table, tmp_path):
    digest = content_digest(table)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7, 1), table.slice(8)])
    assert content_digest(chunked) == digest
    for number, settings in enumerate(
        ({"compression": "none"}, {"row_group_size": 11}, {"use_dictionary": True, "data_page_version": "2.0"})
    ):
        pq.write_table(table, tmp_path / f"{number}.parquet", **settings)
        assert content_digest(pq.read_table(tmp_path / f"{number}.parquet")) == digest


@pytest.mark.parametrize("column", ["image", "label", "row", "source", "hash"])
def test_digest_sees_every_column(table, column):
    number = table.schema.get_field_index(column)
    other = table.set_column(number, table.schema.field(number), table[column].take(list(range(49, -1, -1))))
    changed = column != "source"  # all its values are equal
    assert (content_digest(other) != content_digest(table)) == changed


def test_digest_sees_order_class_names_and_text(table):
    digest = content_digest(table)
    assert content_digest(table.take(list(range(49, -1, -1)))) != digest
    other = split_schema({"image": ("uint8", (3, 4, 4)), "label": ("int32", ())}, {"classes": ["a", "b", "x"]}).metadata
    assert content_digest(table.replace_schema_metadata(other)) != digest
    texts = [pa.table({"source": values}) for values in (["ab", "c"], ["a", "bc"])]
    assert content_digest(texts[0]) != content_digest(texts[1])


def test_digest_leaves_foreign_metadata_alone(table):
    metadata = {**table.schema.metadata, b"pandas": b"{}"}
    assert content_digest(table.replace_schema_metadata(metadata)) == content_digest(table)


def test_digest_refuses_nulls():
    with pytest.raises(Refused, match="1 null"):
        content_digest(pa.table({"label": pa.array([1, None])}))


def test_pixels_survive_the_way_to_arrow_and_back(random_images):
    images = random_images(9, (3, 5, 4))
    column = pa.chunked_array([fixed_binary(images[:4]), fixed_binary(images[4:])])
    assert (fixed_numpy(column).reshape(images.shape) == images).all()
    assert (fixed_numpy(column.slice(2, 5)).reshape(5, 3, 5, 4) == images[2:7]).all()


def test_equal_images_and_no_others_have_equal_hashes(random_images):
    images = random_images(5)
    images[3] = images[1]
    hashes = [bytes(row) for row in row_hashes({"image": images}, ["image"])]
    assert hashes[3] == hashes[1]
    assert len(set(hashes)) == 4


def test_schema_of_something_else_is_refused(table):
    with pytest.raises(Refused, match="not a split of format 2"):
        check_schema(pa.schema([("image", pa.binary())]), "x.parquet")
    with pytest.raises(Refused, match=r"x.parquet: column 'label' must be int32, found nothing"):
        check_schema(table.drop_columns(["label"]).schema, "x.parquet")
    check_schema(table.schema, "x.parquet")


@pytest.mark.parametrize(
    "text",
    [
        *("{x", "7", "[null]", "{}", '{"a": 1}', '{"a": ["uint8", [-1]]}', '{"a": ["uint8", [1.5]]}', "ÿ", ""),
        *('{"a": ["object", []]}', '{"a": ["no such", [1]]}', '{"a": ["uint8", [70000, 70000]]}'),
    ],
)
def test_damaged_metadata_is_a_sentence(table, text):
    damaged = table.replace_schema_metadata({**table.schema.metadata, b"winnow.columns": text.encode()})
    with pytest.raises(Refused, match=r"the metadata 'winnow.columns' of a split is damaged"):
        check_schema(damaged.schema, "train.parquet")


def test_a_split_of_an_older_winnow_says_what_to_do(table):
    older = table.replace_schema_metadata({**table.schema.metadata, b"winnow.format": b"1"})
    with pytest.raises(Refused, match=r"x.parquet is a split of format 1, of an older winnow: run `winnow prepare`"):
        check_schema(older.schema, "x.parquet")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_columns_of_any_shape_survive_the_way_to_disk_and_back(tmp_path, dtype, shape):
    values = np.random.default_rng(0).integers(0, 100, (7, *shape)).astype(dtype)
    table = table_of({"some": values, "other": values[::-1]}, {})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=3)
    read = pq.read_table(tmp_path / "x.parquet")
    check_schema(read.schema, "x.parquet")
    assert content_digest(read) == content_digest(table)
    found = columns_of(read)
    assert (found["some"].dtype, found["some"].shape) == (values.dtype, values.shape)
    assert (found["some"] == values).all()
    assert (found["other"] == values[::-1]).all()


def test_the_hash_is_of_all_that_a_network_is_given():
    ids, dense = np.arange(6).reshape(3, 2), np.zeros((3, 4), np.float32)
    columns = {"ids": ids, "dense": dense, "clicked": np.array([0, 1, 1])}
    before = row_hashes(columns, ["ids", "dense"])
    columns["clicked"] = np.array([1, 1, 1])
    assert (row_hashes(columns, ["ids", "dense"]) == before).all()
    columns["dense"] = dense + np.array([[0.0], [0.0], [1.0]], np.float32)
    assert (row_hashes(columns, ["ids", "dense"]) == before).all(1).tolist() == [True, True, False]
