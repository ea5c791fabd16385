"""Hand-over: what is exported computes the same, says where it is from, and is loaded without winnow."""

import json
import sys

import pytest
import torch

from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.run import files
from winnow.run.exporting import as_onnx, refuse_bits
from winnow.run.model import load_model, prepared
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.trust import export as exporting
from winnow.trust.why import FILE, why

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")
pytest.importorskip("onnxscript", reason="needs the extra winnow[onnx]")


@pytest.fixture(scope="module")
def out(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    assert cli.run(["export", str(finished / files.MODEL), "--folder", str(finished), "--out", str(folder)]) == 0
    return folder


def test_onnx_alone_scores_on_test_what_the_report_says(finished, out):
    test = open_split(finished / files.SPLITS, "test", IMAGES, stage="evaluate")
    told = json.loads((out / "export.json").read_text())
    x = prepared(test.columns["image"], {**told, "shape": list(test.columns["image"].shape[1:])}).numpy()

    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": x})

    accuracy = 100 * float((torch.from_numpy(logits).argmax(1) == test.answers).double().mean())
    assert accuracy == pytest.approx(json.loads((finished / "reports/evaluate.json").read_text())["accuracies"][0])


def test_the_largest_error_is_measured_on_the_test_split_and_stored(finished, out):
    told = json.loads((out / "export.json").read_text())
    test = open_split(finished / files.SPLITS, "test", IMAGES, stage="evaluate")
    assert told["checked_on"] == f"test split {test.digest}"
    assert told["images"] == len(test)
    assert 0 < told["max_error"] < 1e-4
    model, about = load_model(finished / files.MODEL)
    one, other = exporting.both(model, out / "model.onnx", prepared(test.columns["image"], about), onnxruntime)
    same = float((one.argmax(1) == other.argmax(1)).double().mean())
    assert (float((one - other).abs().max()), same) == (told["max_error"], told["agreeing"])
    accuracy = json.loads((finished / "reports/evaluate.json").read_text())["accuracies"][0]
    assert told["measured"]["accuracy"] == {"pytorch": pytest.approx(accuracy), "onnx": pytest.approx(accuracy)}


def test_weights_and_architecture_come_along(finished, out):
    assert (out / "model.safetensors").read_bytes() == (finished / files.MODEL).read_bytes()
    before, after = (json.loads(p.read_text()) for p in (finished / files.ARCHITECTURE, out / "architecture.json"))
    assert {name: before[name] for name in after} == after


def test_the_onnx_file_says_where_it_is_from(out):
    found = {step.name: step for step in why(out / "model.onnx")}
    assert found["data"].facts["source"] == "digits"
    assert found["parameters"].vouched == FILE
    assert found["file"].facts["model_md5"] == json.loads((out / "export.json").read_text())["model_md5"]


def test_a_model_whose_onnx_differs_is_not_handed_over(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "LARGEST_ERROR", 0.0)
    with pytest.raises(Refused, match="away from PyTorch"):
        exporting.export(finished / files.MODEL, finished, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_the_extra_a_sentence_says_what_to_install(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Refused, match=r"pip install 'winnow\[onnx\]'"):
        exporting.export(finished / files.MODEL, finished, tmp_path)


class Around(torch.nn.Module):
    """A linear layer behind a function of images (batch, 1, 8, 8)."""

    def __init__(self, function):
        super().__init__()
        self.function, self.last = function, torch.nn.LazyLinear(3)
        self(torch.zeros(2, 1, 8, 8))

    def forward(self, x):
        return self.last(self.function(x).flatten(1))


def turned(x):
    grid = torch.nn.functional.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), x.shape, align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, align_corners=False)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: torch.nn.functional.adaptive_max_pool2d(x, 3), "has no ONNX form of the operator aten.adaptive_max"),
        (turned, r"takes batches of 2 only, as something in forward"),
        (lambda x: x * 2 if x.mean() > 0 else x, "forward decides by values.*\n.*test_export.py, line"),
    ],
)
def test_what_the_exporter_cannot_take_is_a_sentence(tmp_path, capfd, function, sentence):
    network = Around(function).eval()

    def exported():
        program = as_onnx(network, (1, 8, 8))
        program.save(str(tmp_path / "model.onnx"), include_initializers=True)
        exporting.both(network, tmp_path / "model.onnx", torch.zeros(9, 1, 8, 8), onnxruntime)

    with pytest.raises(Refused, match=sentence) as refusal:
        exported()
    assert str(refusal.value).count("\n") <= 1
    assert capfd.readouterr().err == ""


def test_bits_that_no_onnx_of_ours_has_are_refused_by_layer():
    space = build("resnet", {"width": 0.0625, "bits": ["w2a4", "w32a32"]}, classes=3, image_channels=1, image_size=8)
    children = {bits: space.derive(space.decide(lambda d, bits=bits: bits)) for bits in ("w2a4", "w32a32")}
    with pytest.raises(Refused, match=r"layer '3.body.0' multiplies weights of 2 bits by inputs of 4") as refusal:
        as_onnx(children["w2a4"].eval(), (1, 8, 8))
    assert "it would run as one of floats" in str(refusal.value)
    refuse_bits(children["w32a32"])


@pytest.mark.parametrize(("given", "passed"), [([], "my_net:build"), (["--space", "other:build"], "other:build")])
def test_the_space_of_params_yaml_is_the_one_whose_code_may_run(tmp_path, monkeypatch, given, passed):
    seen = []

    def stand_in(file, folder, out, space):
        seen.append(space)
        raise Refused("far enough")

    monkeypatch.setattr(exporting, "export", stand_in)
    (tmp_path / "params.yaml").write_text("space: {name: 'my_net:build'}\n")
    assert cli.run(["export", "m.safetensors", "--folder", str(tmp_path), *given]) == 2
    assert seen == [passed]


def test_a_model_that_the_runtime_does_not_take_is_one_sentence(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(Refused, match="not exported: ONNX Runtime does not take the model"):
        exporting.both(torch.nn.Identity(), path, torch.zeros(2, 3), onnxruntime)
