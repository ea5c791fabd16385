"""winnow calibrate: which networks, what each option costs, and what may be said of it."""

import json
import random

import pytest
import torch
from click.testing import CliRunner

from tests.stages.tiny import tiny
from winnow.cli.main import cli
from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.errors import Refused
from winnow.pipelines import prepare
from winnow.run.device import Network, read_device
from winnow.run.limits import Limits
from winnow.run.work import final_space
from winnow.tools import calibrating
from winnow.tools.calibrating import fit, plan
from winnow.tools.measuring import measure

COST = {"none": 0.0, "skip_connect": 0.1, "nor_conv_1x1": 0.5, "nor_conv_3x3": 1.0, "avg_pool_3x3": 0.3}


def truth(choices) -> float:
    return 2 + sum(COST[option] for option in choices.values())


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    prepare.main(tiny(), folder)
    return folder


@pytest.fixture(scope="module")
def planned(work):
    """What each of 50 exported networks says of itself; nothing is exported."""
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrating, "_write", lambda *given: said.append(json.loads(json.dumps(given[-1]))))
        paths = plan(tiny(), work, 50, work / "networks", say=lambda text: None)
    assert [path.name for path in paths] == [f"{about['digest']}.onnx" for about in said]
    return said


def readings(path, said, ms=truth, noise=0.02, device="a board, 1 thread", **changes):
    draws, rows = random.Random(1), []
    for about in said:
        value = ms(about["choices"]) * (1 + draws.uniform(-noise, noise))
        rows.append({"file": "x.onnx", "ms": value, "low": value * 0.98, "high": value * 1.02, "about": about})
    content = {"format": "winnow.measured/1", "name": "board", "device": device, "networks": rows}
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_a_third_is_held_out_and_the_others_show_every_option(planned):
    roles = [about["role"] for about in planned]
    assert (roles.count("held"), roles.count("fitted")) == (19, 31)
    assert len({about["digest"] for about in planned}) == 50
    for edge in planned[0]["choices"]:
        assert {about["choices"][edge] for about in planned if about["role"] == "fitted"} == COST.keys()


def test_what_was_measured_becomes_a_device_with_its_error(work, planned, tmp_path):
    path = readings(tmp_path / "measured.json", planned)
    made = fit(tiny(), work, [path], tmp_path / "device.json")
    assert (made.fitted, made.found.held, made.found.name) == (31, 19, "board")
    assert 0 < made.found.error < 0.25 < made.found.without
    assert made.found.r2 > 0.98
    assert made.fastest == pytest.approx(2, abs=0.3)
    assert made.slowest == pytest.approx(8, abs=0.5)
    space = final_space(tiny(), work)
    device = read_device(tmp_path / "device.json", Network.of(tiny(), work, space), space)
    others = distinct(space, random.Random(7), 200)
    inside = [told.low <= truth(arch) <= told.high for arch in others if (told := device.read(arch))]
    assert sum(inside) >= 180
    arch = Architecture.of(planned[0]["choices"])
    assert device.read(arch).ms == pytest.approx(made.found.ms(arch), abs=1e-9)
    limits = Limits.of(
        tiny(select__methods=["evolution"], select__max_latency_ms=4.0, select__device=str(tmp_path / "device.json")),
        work,
    )
    assert all(truth(each) <= 4.0 + made.found.error for each in others if limits.allows(each))


def test_a_claim_that_the_error_does_not_carry_is_not_made(work, planned, tmp_path):
    params, out = tiny(), tmp_path / "device.json"
    draws = random.Random(3)
    noise = readings(tmp_path / "noise.json", planned, lambda choices: draws.choice((1.0, 9.0)))
    with pytest.raises(Refused, match="bears nothing: it is off by up to"):
        fit(params, work, [noise], out)
    held = [about for about in planned if about["role"] == "held"]
    fitted = [about for about in planned if about["role"] == "fitted"]
    for said, sentence in (
        ([*fitted, *held[:18]], "18 networks held out of the calibration of board bear no error at 95%"),
        ([*held, *fitted[:1]], "is in none of the 1 networks that board is fitted to"),
    ):
        with pytest.raises(Refused, match=sentence):
            fit(params, work, [readings(tmp_path / "few.json", said)], out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "other"}, "holds no readings of `winnow measure`"),
        ({"networks": None}, "is damaged: it names no networks or no device"),
        ({"networks": [{"file": "x.onnx", "about": None}]}, "x.onnx was not made by `winnow calibrate plan`"),
        ({"networks": [{"file": "x.onnx", "about": {"role": "held"}}]}, r"is damaged \(KeyError: 'network'\)"),
    ],
)
def test_damaged_readings_are_refused(work, planned, tmp_path, changes, sentence):
    with pytest.raises(Refused, match=sentence):
        fit(tiny(), work, [readings(tmp_path / "measured.json", planned, **changes)], tmp_path / "device.json")


def test_readings_of_other_networks_and_of_two_devices_are_refused(work, planned, tmp_path):
    path, out = readings(tmp_path / "measured.json", planned), tmp_path / "device.json"
    wider = tiny(space__nas_bench_201__channels=8)
    with pytest.raises(
        Refused,
        match=r"it is of nas_bench_201 \(cells 1, channels 4\), .* is nas_bench_201 \(cells 1, channels 8",
    ):
        fit(wider, work, [path], out)
    other = readings(tmp_path / "other.json", planned, device="another board")
    with pytest.raises(
        Refused, match=r"of a board, 1 thread and .*other.json is of another board: .* one device at a time"
    ):
        fit(tiny(), work, [path, other], out)
    altered = [{**about, "digest": "0" * 12} for about in planned]
    with pytest.raises(Refused, match="choices of another digest"):
        fit(tiny(), work, [readings(tmp_path / "altered.json", altered)], out)


def test_too_few_networks_are_refused_before_any_is_exported(work, tmp_path):
    with pytest.raises(
        Refused, match=r"takes 24 networks or more, not 23: 19 held out, .* and 5 in which every option"
    ):
        plan(tiny(), work, 23, tmp_path / "networks")
    assert not (tmp_path / "networks").exists()


def test_the_commands_say_what_was_found(work, planned, tmp_path):
    import yaml

    (work / "params.yaml").write_text(yaml.safe_dump(tiny().model_dump(by_alias=True)))
    path = readings(tmp_path / "measured.json", planned)
    arguments = [
        "calibrate",
        "fit",
        str(path),
        "--folder",
        str(work),
        "--out",
        str(tmp_path / "d.json"),
        "--name",
        "pi",
    ]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "pi: fitted to 31 networks; on 19 held out" in done.output
    assert "so that limits from" in done.output
    assert json.loads((tmp_path / "d.json").read_text())["name"] == "pi"


@pytest.mark.parametrize("form", ["safetensors", pytest.param("onnx", marks=pytest.mark.slow)])
def test_from_a_plan_to_a_device_on_this_machine(work, tmp_path, form, monkeypatch):
    threads = torch.get_num_threads()
    paths = plan(tiny(), work, 26, tmp_path / "networks", form, say=lambda text: None)
    with monkeypatch.context() as patch:
        patch.setattr(calibrating, "_write", None)
        assert plan(tiny(), work, 26, tmp_path / "networks", form, say=lambda text: None) == paths, (
            "what is there stays"
        )
    found = measure(paths, repeats=9, seconds=0, name="here")
    torch.set_num_threads(threads)
    assert found["runtime"].startswith("torch" if form == "safetensors" else "onnxruntime")
    said = [row["about"] for row in found["networks"]]
    assert all(row["ms"] > 0 for row in found["networks"])
    made = fit(tiny(), work, [readings(tmp_path / "m.json", said, noise=0.0)], tmp_path / "device.json")
    assert made.found.error < made.found.without
