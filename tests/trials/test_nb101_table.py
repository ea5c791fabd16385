"""NAS-Bench-101's files, made by hand in the published shape, and what reads the table that becomes of them."""

import base64
import json
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from winnow.cli import main as cli
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.spaces import build
from winnow.spaces.nb101_cells import Cell, architecture, cell_of, fingerprint
from winnow.trials.benchmarks import BENCHMARKS
from winnow.trials.importing import import_benchmark, sources_of
from winnow.trials.lookup import Table
from winnow.trials.nb101_table import _masked
from winnow.trials.replay import found, regrets, task

OPS = {"conv3x3": "conv3x3-bn-relu", "conv1x1": "conv1x1-bn-relu", "maxpool3x3": "maxpool3x3"}
CELLS = [
    Cell(((0, 1),), ()),
    Cell(((0, 1), (1, 2)), ("conv3x3",)),
    Cell(((0, 1), (0, 2), (1, 2)), ("conv1x1",)),
    Cell(((0, 1), (0, 2), (1, 3), (2, 3)), ("conv3x3", "maxpool3x3")),
    # the first row of the published table
    Cell(
        ((0, 1), (1, 2), (2, 3), (0, 4), (0, 5), (3, 5), (4, 5), (2, 6), (5, 6)),
        ("conv3x3", "maxpool3x3", "conv3x3", "conv3x3", "conv1x1"),
    ),
]


def digits(of):
    return "".join(str(int((s, n) in of.edges)) for s in range(of.nodes) for n in range(of.nodes))


def operations(of):
    return ["input", *(OPS[op] for op in of.ops), "output"]


def varint(value):
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


def evaluation(epoch, seconds, *accuracies):
    fields = b"".join(varint(i << 3 | 1) + struct.pack("<d", v) for i, v in enumerate((epoch, seconds, *accuracies), 1))
    path = b"/a/checkpoint"
    return fields + varint(6 << 3 | 2) + varint(len(path)) + path


def record(of, epochs, valid, test=0.9, params=227_274, **changes):
    parts = [
        evaluation(at, 10.0 * at, 0.1 if at == 0 else 1.0, valid * at / epochs, test) for at in (0, epochs / 2, epochs)
    ]
    message = b"".join(varint(1 << 3 | 2) + varint(len(part)) + part for part in parts)
    message += varint(2 << 3) + varint(params) + varint(3 << 3 | 1) + struct.pack("<d", 12.5)
    encoded = base64.b64encode(message).decode()
    row = {
        "hash": fingerprint(of),
        "epochs": epochs,
        "adjacency": digits(of),
        "ops": ",".join(operations(of)),
        "m": encoded,
    }
    return json.dumps(list((row | changes).values())).encode()


def framed(*records):
    out = b""
    for data in records:
        length = struct.pack("<Q", len(data))
        out += length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))
    return out


RECORDS = [
    record(of, epochs, (50 + 10 * i + repeat + epochs / 100) / 100, params=1000 + i)
    for i, of in enumerate(CELLS)
    for epochs in (4, 108)
    for repeat in (0, 1, 2)
]


def imported(path, data, out="table.parquet"):
    path.write_bytes(data)
    said = import_benchmark("nas_bench_101", BENCHMARKS["nas_bench_101"], [path], path.parent / out)
    return Table.read(path.parent / out), said


@pytest.fixture
def table(tmp_path):
    return imported(tmp_path / "nasbench.tfrecord", framed(*RECORDS))[0]


def test_sums_are_those_of_the_format():
    """CRC-32C of "123456789" is 0xE3069283, by its standard."""
    crc = 0xE3069283
    assert _masked(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_a_file_of_the_authors_becomes_a_table_of_means(tmp_path):
    table, said = imported(tmp_path / "nasbench.tfrecord", framed(*RECORDS))
    assert said == (10, [])
    row = table.row(architecture(CELLS[4]))
    assert table.column("cifar10_valid", {"epochs": 108.0})[row] == pytest.approx(90 + 1 + 1.08)
    assert table.column("cifar10_valid", {"epochs": 4.0})[row] == pytest.approx(90 + 1 + 0.04)
    assert table.column("cifar10_test", {"epochs": 4.0})[row] == pytest.approx(90)
    assert table.column("cifar10_train", {"epochs": 4.0})[row] == 100
    assert table.column("train_seconds", {"epochs": 108.0})[row] == 1080
    assert table.column("params", {"epochs": 108.0})[row] == 1004
    assert [source.space for source in sources_of(tmp_path / "table.parquet")] == ["nas_bench_101"]
    first = (tmp_path / "table.parquet").read_bytes()
    imported(tmp_path / "nasbench.tfrecord", framed(*RECORDS))
    assert (tmp_path / "table.parquet").read_bytes() == first


def test_its_architectures_are_of_the_space(table):
    with torch.device("meta"):
        space = build("nas_bench_101", {})
    for text in table.texts:
        space.check(Architecture.from_json(text))


def test_a_cell_is_found_in_whatever_way_it_is_answered(table):
    """Other numbers for the two inner nodes, another node that leads nowhere."""
    arch = {"cell/nodes": 5, "cell/2/input": 0, "cell/3/input": 0, "cell/4/input": 1, "cell/5/edges": ("3>4",)}
    arch |= {"cell/1/op": "maxpool3x3", "cell/2/op": "conv1x1", "cell/3/op": "conv3x3"}
    assert table.row(arch) == table.row(architecture(CELLS[3]))
    with pytest.raises(Refused, match="the table does not have"):
        table.row({**arch, "cell/1/op": "conv1x1"})


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
@pytest.mark.parametrize("nested", [True, False], ids=["matrices", "digits"])
def test_rows_say_the_same_as_records(tmp_path, suffix, nested):
    whole, _ = imported(tmp_path / "nasbench.tfrecord", framed(*RECORDS))
    rows = []
    for i, of in enumerate(CELLS):
        flat, ops, n = digits(of), operations(of), of.nodes
        matrix = [[int(d) for d in flat[k * n : k * n + n]] for k in range(n)]
        written = {
            "module_adjacency": matrix if nested else flat,
            "module_operations": ops if nested else ",".join(ops),
        }
        for epochs in (4, 108):
            shares = {
                "validation_accuracy": (51 + 10 * i + epochs / 100) / 100,
                "test_accuracy": 0.9,
                "train_accuracy": 1,
            }
            more = {"epochs": epochs, "training_time": 10.0 * epochs, "trainable_parameters": 1000 + i}
            rows.append(written | shares | more)
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows))
    table, _ = imported(path, path.read_bytes(), "rows.table.parquet")
    assert list(table.rows) == list(whole.rows)
    for metric, at in whole.columns:
        assert table.column(metric, dict(at)) == pytest.approx(whole.column(metric, dict(at)))


GOOD = RECORDS[0]
TURNED = bytearray(framed(GOOD))
TURNED[40] ^= 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "has no rows"),
        (b"PAR1 is no record file", "is no TFRecord file of NAS-Bench-101, or damaged, at byte 0"),
        (framed(GOOD)[:50], "ends within a record"),
        (framed(GOOD) + b"\x01\x02", "or damaged, at byte"),
        (bytes(TURNED), "is damaged in the record before byte"),
        (framed(GOOD, b"{}"), "row 1 is no record of NAS-Bench-101: ValueError"),
        (framed(b"\xff\xfe"), "row 0 is no record of NAS-Bench-101: (Unicode|JSON)DecodeError"),
        (framed(record(CELLS[0], 4, 0.5, m="!!")), "row 0 is no record"),
        (framed(record(CELLS[0], 4, 0.5, m=base64.b64encode(b"\x0a\xff").decode())), "row 0 is no record"),
        (framed(record(CELLS[0], 4, 0.5, m=base64.b64encode(b"\x0f\x00").decode())), "no protocol buffer, or cut"),
        (framed(record(CELLS[0], 4, 0.5, m="")), "row 0 is no record of NAS-Bench-101: IndexError"),
        (framed(record(CELLS[1], 4, 0.5, hash="0" * 32)), "the cell's hash is [0-9a-f]{32}, not 0{32}"),
        (framed(record(CELLS[1], 4, 0.5, ops="input,conv5x5,output")), "row 0: .* operations conv3x3"),
        (framed(record(CELLS[1], 4, 0.5, adjacency="01")), "row 0: an adjacency matrix is a square of 0 and 1"),
        (framed(record(CELLS[1], 4, 50.5)), "validation_accuracy takes 0 to 1, not 50.5"),
        (framed(record(CELLS[1], 4, 0.5), record(CELLS[1], 4, 0.5, params=3)), "differ in what was measured or"),
    ],
)
def test_what_is_no_file_of_it_is_a_sentence(tmp_path, data, sentence):
    with pytest.raises(Refused, match=sentence):
        imported(tmp_path / "nasbench.tfrecord", data)
    assert not (tmp_path / "table.parquet").exists()


ROW = {"module_adjacency": "0100", "module_operations": "input,output", "epochs": 4, "validation_accuracy": 0.5}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("[", "is no JSON"),
        ("{}", "takes a list of objects"),
        ("[]", "has no rows"),
        (json.dumps([{"epochs": 4}]), "has no column 'module_adjacency', only epochs"),
        (json.dumps([ROW | {"epochs": "x"}]), "row 0: epochs takes a number above 0, not 'x'"),
        (json.dumps([ROW | {"module_adjacency": 5}]), "row 0: an adjacency matrix is"),
        (json.dumps([ROW | {"module_operations": None}]), "row 0: a cell of 2 nodes takes 2 operations"),
        (json.dumps([ROW | {"validation_accuracy": True}]), "takes 0 to 1, not True"),
        (json.dumps([ROW | {"validation_accuracy": None}]), "there is no accuracy: it takes any of train_accuracy"),
        (json.dumps([ROW | {"training_time": -1}]), "training_time takes a number of 0 or more, not -1"),
    ],
)
def test_rows_that_are_none_are_a_sentence(tmp_path, rows, sentence):
    with pytest.raises(Refused, match=sentence):
        imported(tmp_path / "rows.json", rows.encode())
    with pytest.raises(Refused, match="no file"):
        BENCHMARKS["nas_bench_101"].read(tmp_path / "elsewhere.tfrecord", None)
    with pytest.raises(Refused, match="leave out --space"):
        BENCHMARKS["nas_bench_101"].read(tmp_path / "rows.json", "nas_bench_101")


def test_strategies_are_replayed_on_it(table):
    of = task(table, "cifar10_valid")
    for strategy in ("random", "regularised_evolution", "tpe", "hyperband"):
        assert (regrets(of, strategy, 2, 5)[:, -1] == 0).all(), strategy
    assert sorted(found(of, "regularised_evolution", 0, 5)) == [0, 1, 2, 3, 4]
    assert found(of, "tpe", 1, 5) == found(of, "tpe", 1, 5)


def test_commands_import_show_predict_and_rank(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nasbench.tfrecord").write_bytes(framed(*RECORDS))
    assert cli.run(["table", "import", "nas_bench_101", "nasbench.tfrecord", "--out", "t.parquet"]) == 0
    assert "Ying et al. 2019, github.com/google-research/nasbench; licence Apache-2.0" in capsys.readouterr().out
    assert cli.run(["table", "show", "t.parquet"]) == 0
    assert "5 architectures of" in capsys.readouterr().out
    options = ["--table", "t.parquet", "--space", "nas_bench_101", "--metric", "cifar10_valid"]
    names = "ridge:path,ridge:adjacency"
    assert cli.run(["predict", *options, "--train", "3", "--predictors", names]) == 0
    assert "ridge:adjacency" in capsys.readouterr().out
    replayed = ["--strategy", "regularised_evolution", "--seeds", "2", "--evaluations", "5"]
    assert cli.run(["replay", "--table", "t.parquet", *replayed]) == 0
    assert "the table has 5 of 423,624 cells: a strategy that asks" in capsys.readouterr().out
    assert cli.run(["table", "import", "nas_bench_101", "t.parquet", "--out", "no.parquet"]) == 2
    assert "has no column 'module_adjacency'" in " ".join(capsys.readouterr().err.split())


def test_a_row_has_the_architecture_of_the_published_cell(table):
    (text,) = [text for text in table.texts if json.loads(text)["cell/nodes"] == 7]
    assert cell_of(Architecture.from_json(text)) == CELLS[4]
