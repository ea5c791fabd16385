"""winnow measure: exported networks on the machine at hand, without PyTorch where the file needs none."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from winnow.cli.main import cli
from winnow.core.errors import Refused
from winnow.measure.exported import ABOUT
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
