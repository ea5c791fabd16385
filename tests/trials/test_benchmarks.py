"""Published benchmarks imported, joined and searched: small made files of their formats."""

import hashlib
import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.spaces import build
from winnow.spaces.macro import from_string
from winnow.spaces.nas_bench_201 import from_string as cell
from winnow.trials.benchmarks import BENCHMARKS
from winnow.trials.importing import import_benchmark, sources_of
from winnow.trials.joining import join
from winnow.trials.lookup import Table
from winnow.trials.replay import found, regrets, task
from winnow.trials.table import read_table

OPS = itertools.product(("none", "nor_conv_3x3"), ("none", "nor_conv_1x1"), ("none", "skip_connect"))
CELLS = [f"|{a}~0|+|none~0|{b}~1|+|none~0|none~1|{c}~2|" for a, b, c in OPS]


def macro(**changes):
    columns = {
        "arch": ["00000000", "22212202", "11111111"],
        "params": [387_882, 1_985_514, 1_588_874],
        "flops": [7_713_280, 85_164_544, 53_246_464],
        "test_acc_0": [45.0, 93.0, 92.0],
        "test_acc_1": [46.0, 93.5, None],
        "mean_acc": [45.5, 93.25, 92.0],
    }
    return {name: values for name, values in (columns | changes).items() if values is not None}


def accel(**changes):
    block = {f"block{i}_{short}": [1, 1, 1] for i in range(7) for short in ("e", "l")}
    block |= {f"block{i}_k": [3, 5, 3] for i in range(7)} | {f"block{i}_se": [False, True, False] for i in range(7)}
    rest = {"id": [0, 1, 2], "val_top1": [60.0, 61.0, 62.0], "macs_m": [1.5, 2, 1.5], "params_m": [1.0, 2, 1.0]}
    return block | rest | {"ms_zcu102": [5.0, 7.0, 5.5], "ips_a100": [900.0, None, 910.0]} | changes


def latency(**changes):
    return {"index": list(range(8)), "arch_str": CELLS, "ms_raspi4": [float(i + 1) for i in range(8)]} | changes


def fbnet(**changes):
    ops = [["k3_e1"] * 22, ["skip"] * 22]
    return {"op_index": [[0] * 22, [8] * 22], "ops": ops, "ms_pixel3": [9.0, -1.0]} | changes


def ofa(**changes):
    rows = {"ks": [[3, 5] * 10] * 2, "e": [[4] * 20] * 2, "d": [[2, 3, 4, 2, 3]] * 2, "r": [128, 224]}
    return rows | {"ms_v100_1": [4.0, 6.0]} | changes


def vit(**changes):
    rows = {
        "space": ["autoformer_tiny", "autoformer_tiny", "pit"],
        "file": ["a", "b", "p"],
        "width": [192, 216, 16],
        "depth": [[2], [3], [2, 6, 4]],
        "mlp_ratio": [[3.5, 4.0], [4.0, 4.0, 3.5], [4.0]],
        "num_heads": [[3, 4], [3, 3, 4], [2, 2, 4]],
        "c100_base_acc": [68.0, None, 70.0],
        "c100_kd_acc": [76.0, 77.0, 75.0],
    }
    return rows | changes


def file_of(folder, columns, name="given.parquet"):
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def imported(folder, benchmark, columns, space=None, name="table.parquet"):
    path = file_of(folder, columns, f"of_{name}")
    said = import_benchmark(benchmark, BENCHMARKS[benchmark], [path], folder / name, space)
    return Table.read(folder / name), said


def test_a_look_up_in_macro_is_the_mean_of_its_trainings_and_its_sizes_are_the_networks(tmp_path):
    table, said = imported(tmp_path, "nas_bench_macro", macro())
    assert said == (6, [])
    accuracy, best = table.column("cifar10_test", {}), table.row(from_string("22212202"))
    assert accuracy[best] == 93.25
    assert accuracy[table.row(from_string("11111111"))] == 92.0
    assert table.column("params", {})[best] == 1_985_514
    assert table.column("macs", {})[best] == 85_164_544


def test_the_published_json_of_macro_is_read_too(tmp_path):
    row = {"test_acc": [93.0, 93.5], "mean_acc": 93.25, "std": 0.2, "params": 1_985_514, "flops": 85_164_544}
    (tmp_path / "m.json").write_text(json.dumps({"22212202": row}))
    import_benchmark("nas_bench_macro", BENCHMARKS["nas_bench_macro"], [tmp_path / "m.json"], tmp_path / "t.parquet")
    table = Table.read(tmp_path / "t.parquet")
    assert table.column("cifar10_test", {})[table.row(from_string("22212202"))] == 93.25
    (tmp_path / "m.json").write_text(json.dumps({"22212202": {"params": 3}}))
    with pytest.raises(Refused, match=r"m.json is not nas-bench-macro_cifar10.json: KeyError"):
        BENCHMARKS["nas_bench_macro"].read(tmp_path / "m.json", None)


def test_a_network_trained_twice_has_two_rows_and_speeds_are_by_device(tmp_path):
    table, (count, _) = imported(tmp_path, "accel_nasbench", accel())
    assert (count, len(table)) == (3, 2)
    assert table.column("imagenet_valid", {}).tolist() == [61.0, 61.0]
    assert table.column("latency_ms/zcu102", {}).tolist() == [5.25, 7.0]
    assert table.column("images_per_second/a100", {})[0] == 905.0
    assert np.isnan(table.column("images_per_second/a100", {})[1])
    assert table.column("macs", {}).tolist() == [1.5e6, 2e6]
    assert {"block0/excite", "block6/kernel"} < set(table.names)


def test_each_file_of_latencies_is_of_its_own_space(tmp_path):
    table, _ = imported(tmp_path, "device_latency", latency())
    assert table.column("latency_ms/raspi4", {})[table.row(cell(CELLS[3]))] == 4.0
    table, _ = imported(tmp_path, "device_latency", fbnet())
    assert table.names[21] == "layer/21"
    assert table.fidelities("latency_ms/pixel3") == [()]
    assert np.isnan(table.column("latency_ms/pixel3", {})[1])  # -1: the device cannot run it
    table, _ = imported(tmp_path, "device_latency", ofa())
    assert table.column("latency_ms/v100_1", {"resolution": 224.0}).tolist() == [6.0]
    for text in table.texts:
        build("ofa", {"width": 0.25}, classes=2).check(json.loads(text))


def test_a_file_of_two_spaces_is_asked_which_and_depth_reaches_decisions(tmp_path):
    with pytest.raises(Refused, match=r"say --space autoformer_tiny \(2 networks\) or --space pit \(1 networks\)"):
        imported(tmp_path, "vit_bench", vit())
    with pytest.raises(Refused, match="has no network of space 'swin'; it has those of autoformer_tiny, pit"):
        imported(tmp_path, "vit_bench", vit(), "swin")
    table, _ = imported(tmp_path, "vit_bench", vit(), "autoformer_tiny")
    assert table.column("cifar100_distilled", {}).tolist() == [76.0, 77.0]
    assert table.codes[0, table.names.index("block3/ratio")] == -1
    with torch.device("meta"):
        space = build("vit", {"size": "tiny", "depths": [2, 3]}, classes=2)
    for text in table.texts:
        space.check(json.loads(text))
    table, _ = imported(tmp_path, "vit_bench", vit(), "pit", "pit.parquet")
    assert json.loads(next(iter(table.texts)))["mlp_ratio"] == "4"
    with pytest.raises(Refused, match="row 1: a network of 3 blocks has 2 numbers of heads"):
        imported(tmp_path, "vit_bench", vit(num_heads=[[3, 4], [3, 3], [2, 2, 4]]), "autoformer_tiny", "bad.parquet")


def test_a_table_says_where_its_numbers_are_from(tmp_path, capsys):
    path = file_of(tmp_path, macro())
    assert cli.run(["table", "import", "nas_bench_macro", str(path), "--out", str(tmp_path / "t.parquet")]) == 0
    assert "Su et al. 2021, github.com/xiusu/NAS-Bench-Macro; licence Apache-2.0" in capsys.readouterr().out
    (source,) = sources_of(tmp_path / "t.parquet")
    assert (source.space, source.file) == ("macro", "given.parquet")
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert cli.run(["table", "show", str(tmp_path / "t.parquet")]) == 0
    assert source.sha256 in capsys.readouterr().out


@pytest.mark.parametrize(
    ("benchmark", "columns", "sentence"),
    [
        ("nas_bench_macro", latency(), "has no column 'arch', only index, arch_str, ms_raspi4"),
        ("nas_bench_macro", macro(arch=["0000", "22212202", "11111111"]), "row 0: a network of NAS-Bench-Macro reads"),
        ("nas_bench_macro", macro(arch=["00000000"] * 3), r"two rows are of .*, with cifar10_test 45.0 and 93.0"),
        ("nas_bench_macro", macro(test_acc_0=[0.45, 0.93, 0.92]), "test_acc_0 takes per cent .* no further than 0.93"),
        ("nas_bench_macro", macro(test_acc_0=[45.0, 930.0, 92.0]), "takes 0 to 100, not 45 to 930"),
        ("nas_bench_macro", macro(test_acc_0=["a", "b", "c"]), "test_acc_0 takes numbers, not string"),
        ("nas_bench_macro", {n: [] for n in macro()}, "has no rows"),
        ("accel_nasbench", macro(), "has no column 'id', only arch, params"),
        ("accel_nasbench", accel(block3_k=[3, 7, 3]), r"row 1: block3_k takes one of \(3, 5\), not 7"),
        ("accel_nasbench", accel(id=[0, 1, 0]), "two rows are of .*, with imagenet_valid 60.0 and 62.0"),
        ("accel_nasbench", accel(ms_zcu102=[5.0, 0.0, 1.0]), "ms_zcu102 takes more than 0, and -1 where"),
        ("device_latency", macro(), "has no column ms_<device> or ips_<device>, only arch"),
        ("device_latency", accel(), "says of no network which it is: it takes arch_str"),
        ("device_latency", latency(arch_str=["|conv~0|"] * 8), "row 0: not a NAS-Bench-201 cell"),
        ("device_latency", fbnet(ops=[["k3_e1"] * 21] * 2), "row 0: a network of FBNet has 22 operations of"),
        ("device_latency", ofa(d=[[2, 2]] * 2), "row 0: a network of Once-for-all has 5 depths"),
        ("vit_bench", macro(), "has no column 'space'"),
    ],
)
def test_what_is_not_the_benchmark_is_a_sentence(tmp_path, benchmark, columns, sentence):
    with pytest.raises(Refused, match=sentence):
        imported(tmp_path, benchmark, columns)
    assert not (tmp_path / "table.parquet").exists()


def test_rows_that_agree_are_there_once_and_said(tmp_path):
    columns = {name: values * 2 for name, values in macro().items()}
    table, (count, remarks) = imported(tmp_path, "nas_bench_macro", columns)
    assert (count, len(table)) == (6, 3)
    assert remarks == ["6 rows say again what another says, and are there once"]


def accuracies(folder, space_cells=CELLS, name="acc.parquet", **metrics):
    """A table of NAS-Bench-201 cells with made accuracies at 12 and 200 epochs."""
    from winnow.trials.importing import Benchmark, Contents, Entry

    entries = [
        Entry(cell(text), {"cifar10_valid": 50.0 + 5 * i + epochs / 100, **metrics}, {"epochs": epochs})
        for i, text in enumerate(space_cells)
        for epochs in (12.0, 200.0)
    ]
    made = Benchmark("none", "made", lambda path, space: Contents("nas_bench_201", entries))
    (folder / "made").write_text("made")
    import_benchmark("made", made, [folder / "made"], folder / name)
    return folder / name


def test_accuracies_and_latencies_are_one_table(tmp_path):
    first = accuracies(tmp_path)
    imported(tmp_path, "device_latency", {n: v[:6] for n, v in latency().items()}, name="ms.parquet")
    count, remarks = join([first, tmp_path / "ms.parquet"], tmp_path / "both.parquet")
    assert count == 16
    assert remarks == [f"2 architectures are in {first} alone: without what {tmp_path / 'ms.parquet'} says"]
    table = Table.read(tmp_path / "both.parquet")
    for epochs in (12.0, 200.0):
        row = table.row(cell(CELLS[2]))
        assert table.column("latency_ms/raspi4", {"epochs": epochs})[row] == 3.0
        assert table.column("cifar10_valid", {"epochs": epochs})[row] == 60 + epochs / 100
    assert [each.benchmark for each in sources_of(tmp_path / "both.parquet")] == ["made", "device_latency"]
    assert read_table(tmp_path / "both.parquet")["number"].to_pylist() == list(range(16))


def test_what_cannot_be_joined_is_a_sentence(tmp_path, capsys):
    first, other = accuracies(tmp_path), tmp_path / "m.parquet"
    imported(tmp_path, "nas_bench_macro", macro(), name="m.parquet")
    out = ["--out", str(tmp_path / "b.parquet")]
    for paths, sentence in [
        ([first], "joining takes two tables or more"),
        ([first, other], "have no architecture in common: they are of two spaces"),
        (
            [accuracies(tmp_path, params=1.0), accuracies(tmp_path, name="o.parquet", params=2.0)],
            "has another params of",
        ),
    ]:
        assert cli.run(["table", "join", *map(str, paths), *out]) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "b.parquet").exists()


@pytest.fixture
def both(tmp_path):
    """Accuracy grows with the place and so do milliseconds, but for the last cell, which is quick."""
    imported(
        tmp_path, "device_latency", latency(ms_raspi4=[1, 2, 3, 4, 5, 6, 7, 2.5], ms_fpga=[3.0] * 8), name="ms.parquet"
    )
    join([accuracies(tmp_path), tmp_path / "ms.parquet"], tmp_path / "both.parquet")
    return tmp_path / "both.parquet"


def test_a_limit_leaves_the_best_within_it(both):
    of = task(Table.read(both), "cifar10_valid", limits={"latency_ms/raspi4": 2.4})
    for strategy in ("random", "regularised_evolution", "tpe"):
        assert (regrets(of, strategy, 3, 8)[:, -1] == 0).all()
    regret = regrets(of, "random", 20, 8)
    assert set(np.round(regret[~np.isnan(regret)], 6)) == {0.0, 5.0}  # two keep it, five points apart
    assert np.isnan(regret).any()  # nothing that keeps it yet
    assert of.values[of.excess == 0].max() == pytest.approx(57.0)


def test_a_front_is_found_and_what_is_missing_of_it_is_its_share(both):
    of = task(Table.read(both), "cifar10_valid", besides={"latency_ms/raspi4": "minimize"})
    for strategy in ("random", "nsga2"):
        regret = regrets(of, strategy, 3, 8)
        assert regret[:, -1] == pytest.approx(0, abs=1e-12)
        assert ((regret >= -1e-12) & (regret <= 1)).all()
        assert (np.diff(regret, axis=1) <= 1e-12).all()
    # by hand: the table's front is the first cell, the second and the last, at accuracies 0, 1/7 and 1 of their range
    corners = [(0.1, 1.1), (1 / 7 + 0.1, 5 / 6 + 0.1), (1.1, 4.5 / 6 + 0.1)]
    whole = 1.1 * corners[2][1] + corners[1][0] * (corners[1][1] - corners[2][1]) + 0.1 * (1.1 - corners[1][1])
    rows = found(of, "random", 0, 8)
    alone = regrets(of, "random", 1, 8)[0, 0]
    accuracy, ms = rows[0] / 7, [1, 2, 3, 4, 5, 6, 7, 2.5][rows[0]]
    assert alone == pytest.approx(1 - (accuracy + 0.1) * ((7 - ms) / 6 + 0.1) / whole)


def test_replay_takes_objectives_limits_and_devices(both, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ["replay", "--table", str(both), "--seeds", "2", "--evaluations", "8", "--strategy"]
    devices = ["--device", "raspi4", "--device", "fpga"]
    assert cli.run([*base, "nsga2", "--objective", "latency_ms=minimize", *devices]) == 0
    printed = capsys.readouterr().out
    assert "regret of the front of cifar10_valid and latency_ms/raspi4 and latency_ms/fpga over" in printed
    assert cli.run([*base, "regularised_evolution", "--limit", "latency_ms=3", "--device", "raspi4"]) == 0
    assert "regret of cifar10_valid with latency_ms/raspi4 at most 3 over" in capsys.readouterr().out
    for more, sentence in [
        (
            ["random", "--limit", "latency_ms=3"],
            "latency_ms by device: say --device, one of fpga, raspi4",
        ),
        (
            ["random", "--limit", "latency_ms=3", "--device", "tpu"],
            "no latency_ms of device 'tpu'; it has those of fpga",
        ),
        (["random", "--device", "fpga"], "--device fpga says whose latency, and none is asked for"),
        (["random", "--objective", "latency_ms"], "takes NAME=maximize or NAME=minimize, not 'latency_ms'"),
        (["random", "--limit", "params=small"], "--limit takes NAME=NUMBER, not 'params=small'"),
        (["random", "--limit", "energy=3"], "the table has no metric 'energy'; it has cifar10_valid, latency_ms/fpga"),
        (["random", "--limit", "latency_ms=0.5", "--device", "raspi4"], "at most 0.5 (its smallest is 1): allow more"),
        (["random", "--objective", "cifar10_valid=minimize"], "cifar10_valid is an objective twice"),
        (
            ["regularised_evolution", "--objective", "latency_ms=minimize", "--device", "fpga"],
            "takes one objective, not 2",
        ),
        (["hyperband", "--limit", "latency_ms=3", "--device", "fpga"], "halving knows no limits"),
    ]:
        assert cli.run([*base, *more]) == 2, more
        assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_table_with_gaps_is_searched_by_its_nearest_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, _ = imported(tmp_path, "vit_bench", vit(), "autoformer_tiny")
    of = task(table, "cifar100_distilled")
    for strategy in ("random", "regularised_evolution", "tpe"):
        assert sorted(found(of, strategy, 0, 2)) == [0, 1]
    one = np.array([True, True])
    assert table.nearest(table.codes[1], one) == 1
    assert table.nearest(table.codes[1], np.array([True, False])) == 0
    assert len(task(table, "cifar100").table) == 1  # of the other there is no number
    options = ["--table", "table.parquet", "--metric", "cifar100_distilled", "--seeds", "2", "--evaluations", "2"]
    assert cli.run(["replay", "--strategy", "random", *options]) == 0
    assert "combinations: a strategy that asks for another is given the nearest" in capsys.readouterr().out
