"""winnow measure: exported networks on the machine at hand, without PyTorch where the file needs none."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from winnow.cli.main import cli
from winnow.core.errors import Refused
from winnow.measure import exported
from winnow.measure.exported import ABOUT, FORMAT, Exported, Reading, in_pytorch, readings
from winnow.measure.rounds import ROUNDS
from winnow.tools.measuring import measure

onnx = pytest.importorskip("onnx", reason="needs the extra winnow[onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")


def product(path, size=8, batch="batch", about=None, kind="FLOAT", inner=8):
    """A network that multiplies once, as a file."""
    helper, numbers = onnx.helper, onnx.TensorProto
    weight = onnx.numpy_helper.from_array(np.ones((size, size), np.float32), "w")
    given = helper.make_tensor_value_info("x", getattr(numbers, kind), [batch, inner])
    out = helper.make_tensor_value_info("y", numbers.FLOAT, [batch, size])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if kind != "FLOAT":
        nodes = [
            helper.make_node("Cast", ["x"], ["f"], to=numbers.FLOAT),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ]
    graph = helper.make_graph(nodes, "one", [given], [out], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if about is not None:
        onnx.helper.set_model_props(model, {ABOUT: about})
    onnx.save(model, str(path))
    return path


def test_medians_spread_and_what_they_were_measured_on(tmp_path):
    about = {"digest": "d", "choices": {"a": 1}, "provenance": "much"}
    paths = [product(tmp_path / "a.onnx", about=json.dumps(about)), product(tmp_path / "b.onnx", 8, kind="INT64")]
    said: list[str] = []
    found = measure(paths, repeats=18, seconds=0.2, name="board", say=said.append)
    assert [line for line in said if line.startswith("round")] == [
        f"round {n} of {ROUNDS}" for n in range(1, ROUNDS + 1)
    ]
    assert (found["format"], found["name"], found["threads"], found["batch"]) == ("winnow.measured/1", "board", 1, 1)
    assert found["device"].endswith(f"1 thread, {found['runtime']}")
    assert found["runtime"].startswith("onnxruntime 1.")
    assert found["host"]["cores"] >= 1
    first, second = found["networks"]
    assert first["about"] == {"digest": "d", "choices": {"a": 1}}
    assert second["about"] is None
    for row in (first, second):
        assert 0 < row["fastest_call"] <= row["low"] <= row["ms"] <= row["high"] <= row["slow_call"]
        assert 9 <= row["calls"] <= 18
        assert len(row["sha256"]) == 64


def test_it_takes_no_pytorch_on_a_board(tmp_path):
    """And prints nothing but JSON, as ssh would bring it back."""
    product(tmp_path / "a.onnx")
    code = (
        "import sys; from winnow.cli.main import run; status = run(sys.argv[1:]); "
        "assert not {'torch', 'pandas', 'mlflow', 'pydantic'} & sys.modules.keys(); sys.exit(status)"
    )
    arguments = ["measure", str(tmp_path / "a.onnx"), "--json", "--seconds", "0", "--repeats", "9"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["networks"][0]["calls"] == 9


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda path: path.write_text("no model"), r"a.onnx does not run: "),
        (
            lambda path: product(path, inner="open"),
            r"has sizes \['batch', 'open'\], of which only the first may be open",
        ),
        (lambda path: product(path, batch=3), "takes a batch of 3, not 1"),
        (lambda path: product(path, kind="BOOL"), r"takes tensor\(bool\); float, int64 or int32 is fed"),
        (lambda path: product(path, about="[1]"), "says of itself what is no JSON object"),
        (lambda path: None, "no .*a.onnx: export a network first"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, made, sentence):
    made(tmp_path / "a.onnx")
    with pytest.raises(Refused, match=sentence):
        measure([tmp_path / "a.onnx"], repeats=9, seconds=0)


def test_other_files_and_no_files_are_refused(tmp_path):
    for given, sentence in (
        ([], "measure takes files"),
        ([tmp_path / "a.txt"], "a.txt is no exported network: measure takes .onnx .* and .safetensors"),
    ):
        with pytest.raises(Refused, match=sentence):
            measure(given)


def test_without_onnxruntime_it_says_which_extra(tmp_path, monkeypatch):
    path = product(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Refused, match=r"this takes onnxruntime, which is not installed: pip install 'winnow\[onnx\]'"):
        measure([path])


def test_a_table_for_people_and_a_file_for_programs(tmp_path):
    product(tmp_path / "a.onnx")
    out = tmp_path / "new/measured.json"
    arguments = ["measure", str(tmp_path / "a.onnx"), "--out", str(out), "--seconds", "0", "--name", "board"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "milliseconds of a batch of 1" in done.output
    assert json.loads(out.read_text())["name"] == "board"


def test_a_row_is_of_medians_of_rounds_and_of_single_calls():
    """Nine rounds with medians 1 to 9; the fastest call 0.5, and one of ten that is slow."""
    rounds = [[float(n), float(n), float(n)] for n in range(1, ROUNDS + 1)]
    rounds[0][0], rounds[3][2] = 0.5, 40.0
    row = Reading(rounds, [1.0, 2.0, 6.0]).row()
    assert row == {
        "ms": 5.0,
        "low": 2.0,
        "high": 8.0,
        "fastest_call": 0.5,
        "slow_call": 9.0,
        "calls": 27,
        "load": 3.0,
    }
    assert Reading([[2.0]]).row()["load"] is None


def test_readings_share_no_rounds():
    one, other = Reading(), Reading()
    one.rounds.append([1.0])
    one.loads.append(1.0)
    assert (other.rounds, other.loads) == ([], [])


@pytest.mark.parametrize("loads", [[None] * ROUNDS, [float(n) for n in range(ROUNDS)]])
def test_networks_take_turns_and_of_each_round_two_calls_are_not_counted(monkeypatch, loads):
    happened, told = [], iter([load for load in loads for _ in "ab"])
    monkeypatch.setattr(exported, "others_running", lambda: next(told))

    def network(name):
        @contextlib.contextmanager
        def opened():
            happened.append(f"open {name}")
            yield lambda: happened.append(name) or 2.0
            happened.append(f"close {name}")

        return Exported(Path(name), "none", opened)

    said = []
    a, b = readings([network("a"), network("b")], 18, 0.0, said.append)
    turn = ["open a", "a", "a", "a", "close a", "open b", "b", "b", "b", "close b"]
    assert happened == turn * ROUNDS  # no time for a second counted call
    assert a.rounds == b.rounds == [[2.0]] * ROUNDS
    assert a.loads == b.loads == [load for load in loads if load is not None]
    assert (said[0], said[-1], len(said)) == ("round 1 of 9", "round 9 of 9", ROUNDS)


@pytest.mark.parametrize(("repeats", "most"), [(1, 1), (9, 1), (10, 2), (18, 2), (19, 3)])
def test_repeats_are_shared_among_the_rounds(monkeypatch, repeats, most):
    asked = []
    monkeypatch.setattr(exported, "one_round", lambda call, most, seconds: asked.append((most, seconds)) or [1.0])
    readings([Exported(Path("x"), "none", lambda: contextlib.nullcontext(lambda: 1.0))], repeats, 0.009, str)
    assert asked == [(most, pytest.approx(0.001))] * ROUNDS


def test_a_call_is_told_in_milliseconds(monkeypatch, tmp_path):
    path = tmp_path / "a.bin"
    path.touch()
    ticks = iter([1_000_000_000, 1_002_500_000])
    monkeypatch.setattr(exported, "time", SimpleNamespace(perf_counter_ns=lambda: next(ticks)))
    ran = []
    assert exported._timed(path, lambda: ran.append(1)) == 2.5
    assert ran == [1]


def test_pytorch_runs_a_network_in_inference_mode_and_says_its_own_version(tmp_path):
    import torch

    path, seen = tmp_path / "a.safetensors", []
    path.touch()

    def model(x):
        seen.append((x, torch.is_inference_mode_enabled()))

    network = in_pytorch(path, model, "input", {"digest": "d"})
    assert (network.path, network.runtime, network.about) == (path, f"torch {torch.__version__}", {"digest": "d"})
    with network.opened() as call:
        assert call() >= 0
        assert call() >= 0
    assert seen == [("input", True)] * 2
    path.unlink()
    with pytest.raises(Refused, match=r"no .*a.safetensors: export a network first"):
        call()


def test_what_a_run_raises_names_the_file_and_refusals_pass(tmp_path):
    path = tmp_path / "a.bin"
    path.touch()

    def raises(error):
        def run():
            raise error

        return run

    with pytest.raises(Refused, match=r"a\.bin does not run: RuntimeError: out of range\n") as refusal:
        exported._timed(path, raises(RuntimeError("out of range")))
    assert isinstance(refusal.value.__cause__, RuntimeError)
    with pytest.raises(Refused, match=r"^as it is$"):
        exported._timed(path, raises(Refused("as it is")))


def values(shape, kind="tensor(float)", batch=2):
    return exported._values(Path("a.onnx"), "x", shape, kind, batch)


def test_inputs_are_the_same_noise_every_time_and_whole_numbers_zero():
    expected = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    for shape in (["batch", 3], [None, 3], [2, 3]):
        assert values(shape).dtype == np.float32
        assert np.array_equal(values(shape), expected)
    for kind, dtype in (("tensor(int64)", np.int64), ("tensor(int32)", np.int32)):
        found = values(["batch", 4], kind)
        assert (found.dtype, found.tolist()) == (dtype, [[0] * 4] * 2)
    assert values([], "tensor(int64)").shape == ()
    assert values(["batch"], batch=5).shape == (5,)


@pytest.mark.parametrize(
    ("shape", "kind", "sentence"),
    [
        ([2, "side"], "tensor(float)", "a.onnx: input 'x' has sizes [2, 'side'], of which only the first may be open"),
        (["n", None], "tensor(float)", "a.onnx: input 'x' has sizes ['n', None], of which only the first may be open"),
        ([1, 3], "tensor(float)", "a.onnx: input 'x' takes a batch of 1, not 2"),
        ([3, 2], "tensor(int64)", "a.onnx: input 'x' takes a batch of 3, not 2"),
        ([2, 3], "tensor(double)", "a.onnx: input 'x' takes tensor(double); float, int64 or int32 is fed"),
    ],
)
def test_an_input_that_cannot_be_fed_is_told_by_its_name(shape, kind, sentence):
    with pytest.raises(Refused) as refusal:
        values(shape, kind)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(("text", "found"), [(None, None), ("", None), ("{}", {}), ('{"a": [1]}', {"a": [1]})])
def test_what_a_file_says_of_itself_is_an_object_or_nothing(text, found):
    assert exported._about(Path("a.onnx"), text) == found


@pytest.mark.parametrize("text", ["[]", "3", "null", "{", "[" * 100_000])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(Refused, match=r"^a\.onnx says of itself what is no JSON object: export it again$"):
        exported._about(Path("a.onnx"), text)


def test_onnxruntime_has_the_threads_it_is_given_and_says_nothing_of_its_own(monkeypatch, tmp_path):
    import onnxruntime

    path, asked = product(tmp_path / "a.onnx", about='{"digest": "d"}'), []
    plain = onnxruntime.InferenceSession

    def session(name, options, providers):
        asked.append((options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level))
        assert (name, providers) == (str(path), ["CPUExecutionProvider"])
        return plain(name, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    network = exported.onnx(path, 3, 4)
    assert (network.about, network.runtime) == ({"digest": "d"}, f"onnxruntime {onnxruntime.__version__}")
    with network.opened() as call:
        assert call() > 0
    assert asked == [(3, 1, 3)] * 2  # to read what it says, and to run it


def test_what_programs_read_keeps_its_names():
    assert (FORMAT, ABOUT) == ("winnow.measured/1", "winnow")
    network = Exported(Path("a"), "none", lambda: contextlib.nullcontext(lambda: 1.0))
    assert network.about is None
    with pytest.raises(AttributeError):
        network.path = Path("b")
