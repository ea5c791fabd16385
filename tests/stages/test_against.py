"""Stage evaluate against baselines: each is trained as the found network is, and told beside it."""

import json
import shutil
import subprocess

import pytest

from tests.stages.locked import committed, git
from tests.stages.tiny import tiny
from winnow.config.reading import read_params
from winnow.core.errors import Refused
from winnow.measure import cost
from winnow.pipelines import evaluate, inputs, retrain, search, tune
from winnow.run import compared as training
from winnow.run import files, judged
from winnow.run.controls import check_comparison
from winnow.run.found_at import PROJECT
from winnow.run.outside import MODULE, PATH, REVISION, named, rival_kind
from winnow.run.revision import read_lock
from winnow.run.rivals import rivals
from winnow.run.start import write_start
from winnow.run.work import final_space
from winnow.trust import verify
from winnow.trust.same import LATENCY, _json

NETS = "tests.stages.rival_networks"
AUTO = {
    "space": {"name": "auto", "model": f"{NETS}:build"},
    "search__strategy": "spos",
    "select__methods": ["evolution"],
    "tune__trials": 0,
    "retrain__seeds": [0, 1, 2],
    "retrain__epochs": 1,
    "evaluate__controls": 0,
}


def told(folder):
    """All of evaluate.json but what is measured."""
    return _json(folder / "reports/evaluate.json", LATENCY)


def ready(folder, params, arch, others=()):
    """A project in which everything before evaluate has run, as if `arch` had been found; `others` for select.front."""
    files.write_architecture(folder / files.ARCHITECTURE, arch, final_space(params, folder), params.space.name)
    write_start(params, folder, None)
    limits = params.select.front
    rows = [{"limits": entry, "digest": o.digest, "choices": dict(o)} for entry, o in zip(limits, others, strict=True)]
    files.write_json(folder / files.FRONT, rows)
    tune.main(params, folder)
    for seed in params.retrain.seeds:
        retrain.main(params, folder, seed)
    return folder


@pytest.fixture(scope="module")
def smaller(prepared, tmp_path_factory):
    """A network of a user's, the smallest child of it found, judged against itself and a narrow one."""
    folder = tmp_path_factory.mktemp("smaller") / "work"
    shutil.copytree(prepared, folder)
    against = ["original", f"{NETS}:narrow"]
    params = tiny(**AUTO, evaluate__against=against, select__front=[{"max_macs": "100%"}])
    space = final_space(params, folder)
    evaluate.main(params, ready(folder, params, space.decide(lambda d: d.values[0]), [space.original]))
    return folder, params


def test_the_network_it_was_made_of_is_the_first_row(smaller):
    folder, params = smaller
    space, found = final_space(params, folder), told(folder)
    whole = space.derive(space.original)
    original, narrow = found["against"]
    assert (original["name"], original["architecture"]) == ("original", space.original.digest)
    assert (original["macs"], original["params"]) == (cost.macs(whole, (1, 8, 8)), cost.params(whole))
    assert original["macs_share"] == pytest.approx(found["macs"] / original["macs"])
    assert (narrow["name"], narrow["architecture"]) == (f"{NETS}:narrow", None)
    (front,) = found["front"]
    assert (front["name"], front["scores"]) == ("max_macs 100%", original["scores"]), "the same, trained once"
    for row in found["against"]:
        assert row["n"] == len(row["scores"]) == 3
        assert row["difference"] == pytest.approx(sum(found["found_scores"]) / 3 - row["score_mean"])
        assert row["difference_ci_low"] < row["difference"] < row["difference_ci_high"]
        assert f"{row['macs_share']:.2f} × its MACs" in row["verdict"]
    page = (folder / "reports/report.html").read_text()
    assert page.index(original["verdict"][:60]) < page.index("your network</text>") < page.index("<td>original</td>")
    assert "random" not in page[page.index("class='verdict") : page.index("class='numbers'")]
    assert "max_macs 100%</text>" in (folder / files.TRADEOFF).read_text()
    latency = json.loads((folder / "reports/evaluate.json").read_text())["against"][0]["latency_ms"]
    assert latency > 0


def test_killed_it_goes_on_and_ends_in_the_same_bytes(smaller, tmp_path, monkeypatch):
    folder, params = shutil.copytree(smaller[0], tmp_path / "work"), smaller[1]
    before, trained, real = told(folder), [], training.train_child
    shutil.rmtree(folder / "reports")

    def killed(work, arch, *rest):
        if len(trained) == 5:
            raise KeyboardInterrupt
        trained.append((work.params.space.name, arch.digest))
        return real(work, arch, *rest)

    monkeypatch.setattr(training, "train_child", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main(params, folder)
    assert len(list((folder / ".winnow/compared").rglob("*.safetensors"))) == 5
    trained.insert(0, "never equal")
    monkeypatch.setattr(
        training, "train_child", lambda *given: trained.append(given[0].params.space.name) or real(*given)
    )
    evaluate.main(params, folder)
    assert trained[6:] == ["auto", "fixed", "fixed", "fixed"]  # found, the original, and the network as it is
    assert told(folder) == before
    assert (folder / files.TRADEOFF).read_bytes() == (smaller[0] / files.TRADEOFF).read_bytes()


@pytest.fixture
def project(finished, tmp_path):
    """A finished run of NAS-Bench-201, committed, with another architecture of it in a file."""
    folder = tmp_path / "project"
    for name in ("data", "artifacts", "reports"):
        shutil.copytree(finished / name, folder / name)
    shutil.copy(finished / "params.yaml", folder)
    committed(folder)
    space = final_space(tiny(), folder)
    files.write_architecture(folder / "other.json", space.decide(lambda d: "nor_conv_1x1"), space, "nas_bench_201")
    return folder


def test_a_file_a_revision_and_code_are_networks(project, monkeypatch):
    """Of the revision that found the same, nothing is trained twice."""
    trained, real = [], training.train_child
    monkeypatch.setattr(evaluate, "write_report", lambda *given: given[-1].write_text("<html>"))  # tested above
    monkeypatch.setattr(training, "train_child", lambda *given: trained.append(given[1].digest) or real(*given))
    for module in (evaluate, judged):  # as where milliseconds are limited
        monkeypatch.setattr(module, "cost_of", lambda params: "latency_ms")
    names = ["other.json", "main", f"{NETS}:lazy", "random"]
    evaluate.main(tiny(evaluate__against=names, retrain__epochs=1), shutil.copytree(project, project.parent / "run"))
    found = told(project.parent / "run")
    file, revision, code = found["against"]
    assert [file["name"], revision["name"], code["name"]] == names[:3]
    assert revision["architecture"] == found["architecture"]
    assert revision["scores"] == found["found_scores"]
    assert "what was found is main itself" in revision["verdict"]
    assert file["verdict"].startswith("cannot tell whether the found network is as good as other.json within 1 point")
    assert "no interval from fewer than 3 retrain.seeds" in file["verdict"], "there are two"
    assert code["params"] == 650
    assert len(trained) == 2 * 3 + 2  # found, the file, the code, by two seeds each, and two random ones
    assert found["control_n"] == 2
    whole = json.loads((project.parent / "run/reports/evaluate.json").read_text())
    assert len(whole["control_latency_ms"]) == 2
    assert min(whole["control_latency_ms"]) > 0
    assert "milliseconds" in (project.parent / "run" / files.TRADEOFF).read_text()


@pytest.mark.parametrize("name", [f"{NETS}:three", f"{NETS}:mapped", "winnow.spaces.nas_bench_201:residual"])
def test_code_that_asks_for_the_space_gives_an_architecture_of_it(project, name):
    params = tiny(evaluate__against=[name])
    (rival,) = rivals(params, project)
    assert (rival.name, rival.params) == (name, params)
    assert set(rival.arch.values()) <= {"nor_conv_3x3", "skip_connect", "none"}
    final_space(params, project).check(rival.arch)


def test_a_revision_of_another_space_is_built_as_that(project):
    """What main found had four channels; params.yaml has eight now."""
    (rival,) = rivals(tiny(space__nas_bench_201={"channels": 8, "cells": 1}, evaluate__against=["main"]), project)
    assert rival.params.space.chosen()["channels"] == 4
    assert rival.params.retrain.epochs == tiny().retrain.epochs
    assert rival.arch == files.read_architecture(
        project / files.ARCHITECTURE, final_space(tiny(), project), "nas_bench_201"
    )


@pytest.mark.parametrize(
    ("against", "words"),
    [
        ("original", r"original: space nas_bench_201 was not made of a network that it keeps whole, as auto"),
        ("orignal", r"no revision 'orignal' .*did you mean 'original'"),
        ("gone.json", r"no file .*gone.json; paths start at"),
        ("broken.json", r"broken.json is not JSON"),
        ("foreign.json", r"foreign.json is of space 'darts', params.yaml names 'nas_bench_201'"),
        ("wrong.json", r"wrong.json does not fit space 'nas_bench_201'"),
        ("params.json", r"params.json is not in format 'winnow.architecture/1'"),
        (f"{NETS}:biuld", r"network '.*rival_networks:biuld': .* has no function 'biuld' .did you mean 'build'"),
        ("no_such_nets:build", r"no module 'no_such_nets'"),
        (f"{NETS}:no_module", r"no_module' must return an nn.Module, not int"),
        (f"{NETS}:still_open", r"still_open' leaves 1 decisions open, such as 'a'"),
        (f"{NETS}:open_inside", r"open_inside' leaves 1 decisions open, such as 'a'"),
        (f"{NETS}:other_classes", r"against: .*other_classes: .*\(2, 3\)"),
        (f"{NETS}:other_images", r"against: .*other_images: .*"),
        (f"{NETS}:raises", r"raises'.*ZeroDivisionError: no weights today"),
        (f"{NETS}:half", r"half' is none of space 'nas_bench_201': .* leaves decision '2<-0' open"),
        (f"{NETS}:of_another", r"of_another' is none of space 'nas_bench_201': .*no decision 'normal/2/0'"),
        (f"{NETS}:needs_more", r"architecture '.*needs_more': TypeError: .*'classes'"),
        (f"{NETS}:three_words", r"three_words' must return an Architecture, .* not a str"),
    ],
)
def test_what_is_no_network_is_refused_before_anything_is_trained(project, monkeypatch, against, words):
    content = json.loads((project / "other.json").read_text())
    (project / "foreign.json").write_text(json.dumps(content | {"space": "darts"}))
    (project / "wrong.json").write_text(json.dumps(content | {"choices": {"1<-0": "nor_conv_7x7"}}))
    (project / "params.json").write_text("{}")
    (project / "broken.json").write_text("{")
    params = tiny(evaluate__against=["random", against])
    kept = (project / files.SUPERNET).read_bytes()
    with pytest.raises(Refused, match=words) as refused:
        check_comparison(params, project, print)
    assert "evaluate.against" in str(refused.value)
    assert "Traceback" not in str(refused.value)
    assert (project / files.SUPERNET).read_bytes() == kept


def test_the_search_asks_before_it_trains(project):
    kept = (project / files.SUPERNET).read_bytes()
    with pytest.raises(Refused, match="was not made of a network"):
        search.main(tiny(evaluate__against=["original"]), project)
    assert (project / files.SUPERNET).read_bytes() == kept


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"against": ["random", "random"]}, "takes each network once"),
        ({"against": []}, "evaluate.against"),
        ({"against": [""]}, "evaluate.against.0"),
        ({"against": "random"}, "evaluate.against: input should be a valid list"),
        ({"against": [3]}, "evaluate.against.0: input should be a valid string"),
        ({"margin": -1.0}, "evaluate.margin"),
        ({"against": ["v1"], "searches": 3}, "against has no random, and searches is 3"),
    ],
)
def test_what_params_yaml_may_not_say(changes, words):
    with pytest.raises(Refused, match=words):
        tiny(**{f"evaluate__{name}": value for name, value in changes.items()})


def test_how_an_entry_is_told():
    kinds = {"random": None, "original": None, "a.b:c": MODULE, "x/y.json": PATH, "v1.2": REVISION, "a/b": REVISION}
    assert {entry: rival_kind(entry) for entry in kinds} == kinds


def test_what_it_names_outside_is_looked_at_each_time(project):
    """For evaluate alone: nothing before it runs again."""
    params = tiny(evaluate__against=["original", "random", "other.json", "main", f"{NETS}:lazy"])
    assert [each.key for each in named(params, project)] == [f"evaluate.against.{i}" for i in (2, 3, 4)]
    inputs.main(params, project)
    before = json.loads((project / "artifacts/inputs/evaluate.json").read_text())
    assert list(before) == [f"evaluate.against.{i}" for i in (2, 3, 4)]
    assert json.loads((project / "artifacts/inputs/space.json").read_text()) == {}
    git(project, "commit", "--quiet", "--allow-empty", "--message", "another commit of the same")
    (project / "other.json").write_text((project / "other.json").read_text() + "\n")
    inputs.main(params, project)
    after = json.loads((project / "artifacts/inputs/evaluate.json").read_text())
    assert [key for key in before if before[key] != after[key]] == ["evaluate.against.2"]


def test_verify_compares_with_the_same_in_a_folder_of_its_own(project, tmp_path, monkeypatch):
    params, scratch = tiny(evaluate__against=["other.json", "main"]), tmp_path / "scratch"
    verify._lay_out(params, project, scratch, read_lock((project / "dvc.lock").read_text()), ["evaluate"])
    seen = {}

    def run(command, env, **how):
        seen.update(env)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(verify.subprocess, "run", run)
    assert verify._run("evaluate", project, scratch) == ""
    monkeypatch.undo()
    monkeypatch.setenv(PROJECT, seen[PROJECT])
    again = read_params(scratch / "params.yaml")
    assert again.evaluate.against == params.evaluate.against, "the names are in the report"
    told = [[(each.name, each.arch) for each in rivals(*given)] for given in ((again, scratch), (params, project))]
    assert told[0] == told[1]
