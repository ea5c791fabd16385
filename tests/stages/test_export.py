"""Hand-over: what is exported computes the same, says where it is from, and is loaded without winnow."""

import json
import shutil
import sys

import pytest
import torch

from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.run import files
from winnow.run.exporting import as_onnx, refuse_bits
from winnow.run.int8 import winners
from winnow.run.model import load_model, prepared
from winnow.spaces import build
from winnow.tasks import task_named
from winnow.tasks.classify import IMAGES
from winnow.trust import export as exporting
from winnow.trust.targets import in_onnxruntime
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
    x = prepared(test.columns["image"], about)
    one, other = (exporting.answered(each, x) for each in (model, in_onnxruntime(out / "model.onnx")))
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


@pytest.fixture(scope="module")
def handed(finished, tmp_path_factory):
    """A project with a menu of one, and its model handed over as pt2 and in eight bits too."""
    folder, out = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("handed")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    (folder / files.MENU).mkdir(exist_ok=True)
    shutil.copyfile(folder / "artifacts/retrain/1/model.safetensors", folder / files.MENU / "other.safetensors")
    return exporting.export(folder / files.MODEL, folder, out, to=["pt2", "onnx"], int8=True), out


def test_the_table_holds_every_file_beside_the_network_as_trained(handed):
    told, out = handed
    rows = {row["file"]: row for row in told["targets"]}
    assert list(rows) == ["model.safetensors", "model.pt2", "model.onnx", "model.int8.onnx"]
    for name, row in rows.items():
        assert row["bytes"] == (out / name).stat().st_size
        assert row["ms"] > 0
        assert set(row["measured"]) == {"accuracy", "loss"}
    assert rows["model.pt2"]["max_error"] < 1e-5
    assert (rows["model.pt2"]["flips"], rows["model.onnx"]["flips"]) == (0, 0)
    assert 1e-5 < rows["model.int8.onnx"]["max_error"] < 10
    assert json.loads((out / "export.json").read_text())["targets"] == told["targets"]


def test_pytorch_alone_opens_the_pt2_and_takes_any_batch(handed, finished):
    _, out = handed
    model, _ = load_model(finished / files.MODEL)
    x = torch.randn(5, 1, 8, 8)
    assert torch.allclose(torch.export.load(out / "model.pt2").module()(x), model(x), atol=1e-5)


def test_weights_in_eight_bits_are_whole_numbers_and_the_menu_is_judged_again(handed):
    import onnx

    told, out = handed
    kinds = {each.data_type for each in onnx.load(str(out / "model.int8.onnx")).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert told["int8"]["calibrated_on"].endswith("rows of split select")
    assert [row["name"] for row in told["int8"]["menu"]] == ["the found network", "other"]


def test_a_winner_that_changes_is_said():
    one, other = {"name": "a", "float": 91.0, "int8": 80.0}, {"name": "b", "float": 90.0, "int8": 89.5}
    assert winners([one, other], 1) == (
        "the winner changes: a is best in floats (91; int8 80), b is best in int8 (89.5; floats 90)"
    )
    areas = [{name: v if name == "name" else v / 100 + 0.0001 for name, v in row.items()} for row in (one, other)]
    assert "a is best in floats (0.9101; int8 0.8001)" in winners(areas, 1)  # of an AUC two digits would hide it
    assert winners([one, other], -1) is not None  # a loss: b is best in floats, a in int8
    assert winners([one, {**other, "int8": 70.0}], 1) is None


@pytest.mark.parametrize(
    ("task", "outputs", "decided"),
    [
        ("image_classification", [[0.1, 0.9], [2.0, 1.0]], [1, 0]),
        ("clicks", [[0.5], [-0.5]], [True, False]),
        ("retrieval", [[2.0, 0.1], [0.1, 2.0], [1.0, 0.9], [0.0, 1.0]], [2, 3, 0, 1]),  # not the largest number
    ],
)
def test_what_is_decided_is_the_tasks(task, outputs, decided):
    assert task_named(task).decided(torch.tensor(outputs)).tolist() == decided


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--to", "onnx,onxx"], "--to takes onnx, pt2, executorch, coreml, with commas between, not 'onxx'"),
        (["--to", "pt2", "--int8"], "add onnx to --to"),
        (["--int8"], "and data/splits has none: run `winnow prepare`"),
    ],
)
def test_what_cannot_be_handed_over_is_a_sentence(finished, tmp_path, monkeypatch, capsys, given, sentence):
    monkeypatch.chdir(tmp_path)  # a folder without splits: nothing to take ranges from
    assert cli.run(["export", str(finished / files.MODEL), "--out", str(tmp_path / "out"), *given]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("target", "module"), [("executorch", "executorch.exir"), ("coreml", "coremltools")])
def test_a_target_that_is_not_installed_names_its_extra(finished, tmp_path, monkeypatch, target, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Refused, match=r"pip install 'winnow\[executorch\]'"):
        exporting.export(finished / files.MODEL, finished, tmp_path / "out", to=[target])


def test_executorch_answers_as_pytorch_does(finished, tmp_path):
    pytest.importorskip("executorch", reason="needs the extra winnow[executorch]")
    told = exporting.export(finished / files.MODEL, finished, tmp_path / "out", to=["executorch"])
    row = told["targets"][1]
    assert row["max_error"] < 1e-4
    assert row["ram"] > 0


def test_an_operator_that_a_target_lacks_is_named_with_the_targets_that_have_it(tmp_path, monkeypatch):
    for module in ("executorch.exir", "coremltools"):
        monkeypatch.setitem(sys.modules, module, None)
    network = Around(lambda x: torch.nn.functional.adaptive_max_pool2d(x, 3)).eval()
    with pytest.raises(Refused, match=r"operator aten.adaptive_max.*; pt2 can take it: --to pt2$"):
        exporting._write(network, {"shape": [1, 8, 8]}, {}, ["onnx"], tmp_path)


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
        in_onnxruntime(tmp_path / "model.onnx")

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

    def stand_in(file, folder, out, space, to, int8, task):
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
        in_onnxruntime(path)
