import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.core.errors import Refused
from winnow.data.schema import (
    check_schema,
    content_digest,
    fixed_binary,
    fixed_numpy,
    pixel_hashes,
    split_schema,
)


@pytest.fixture
def table(random_images):
    images = random_images(50, (3, 4, 4))
    columns = [
        fixed_binary(images),
        pa.array(np.arange(50) % 3, pa.int32()),
        pa.array(range(50), pa.int64()),
        pa.array(["train"] * 50),
        fixed_binary(pixel_hashes(images)),
    ]
    return pa.table(columns, schema=split_schema((3, 4, 4), ("a", "b", "c")))


def test_digest_of_known_content_is_pinned():
    """The digest is a promise across versions; this number may change only together with FORMAT."""
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    columns = [
        fixed_binary(images),
        pa.array([0, 1], pa.int32()),
        pa.array([0, 1], pa.int64()),
        pa.array(["train", "train"]),
        fixed_binary(pixel_hashes(images)),
    ]
    table = pa.table(columns, schema=split_schema((3, 2, 2), ("a", "b")))
    assert content_digest(table) == "27041bf3f4983c2dfa25e0daa9b2139f"


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
    assert content_digest(table.replace_schema_metadata(split_schema((3, 4, 4), ("a", "b", "x")).metadata)) != digest
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
    hashes = [bytes(row) for row in pixel_hashes(images)]
    assert hashes[3] == hashes[1]
    assert len(set(hashes)) == 4


def test_schema_of_something_else_is_refused(table):
    with pytest.raises(Refused, match="not a split of format 1"):
        check_schema(pa.schema([("image", pa.binary())]), "x.parquet")
    with pytest.raises(Refused, match=r"x.parquet: column 'label' must be int32, found nothing"):
        check_schema(table.drop_columns(["label"]).schema, "x.parquet")
    check_schema(table.schema, "x.parquet")


@pytest.mark.parametrize("key", ["winnow.shape", "winnow.classes"])
@pytest.mark.parametrize("text", ["{x", "7", "[null]", "[[1]]", "[0, -1, 1.5]", "ÿ", ""])
def test_damaged_metadata_is_a_sentence(table, key, text):
    damaged = table.replace_schema_metadata({**table.schema.metadata, key.encode(): text.encode()})
    with pytest.raises(Refused, match=f"the metadata '{key}' of a split is damaged"):
        check_schema(damaged.schema, "train.parquet")
