"""Stages that try things: strategy trials of search with every evaluator, and tune; killed, extended, forced."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from tests.stages.tiny import ROOT, tiny
from winnow.config.plans import plan_of_search, recipe_of_trials
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.pipelines import search, tune
from winnow.pipelines import select as selecting
from winnow.run import evaluators, files
from winnow.run.work import final_space, recipe_of
from winnow.spaces import nb101_cells
from winnow.spaces.macro import OPS
from winnow.spaces.nb201_classes import wired
from winnow.train.fit import schedule_of
from winnow.trials.lookup import Table
from winnow.trials.outcome import Infeasible, Job
from winnow.trials.reduce import reduced
from winnow.trials.table import Row, as_rows, as_table, read_table, write_table

MEASURED = ["seconds", "device"]


def trying(space=None, **changes):
    """Strategy trials on the tiny pipeline; keywords are of search.trials."""
    own = {"search__trials__" + name: value for name, value in {"count": 5, "training__epochs": 1, **changes}.items()}
    own |= {"space__" + name: value for name, value in (space or {}).items()}
    return tiny(search__strategy="trials", select__methods=["best"], **own)


def rows_of(folder, path=files.TRIALS):
    return as_rows(read_table(folder / path))


def searched(params, folder):
    """The rows of the search, and the architecture that selection takes from them."""
    search.main(params, folder)
    selecting.main(params, folder)
    arch = files.read_architecture(folder / files.ARCHITECTURE, final_space(params, folder), "nas_bench_201")
    return rows_of(folder), arch


def test_short_trainings_under_a_limit_on_what_would_be_retrained(folder):
    objectives = {"accuracy": "maximize", "params": "minimize"}
    limit = {"params": {"max": 9000}}
    params = trying(objectives=objectives, constraints=limit, training__samples=0.5, training__channels=2)
    rows, arch = searched(params, folder)
    assert [row.number for row in rows] == list(range(5))
    beyond = [row for row in rows if row.metrics["params"] > 9000]
    assert beyond, "the seed was chosen so that some are"
    assert {row.state for row in beyond} == {"pruned"}, "a limit that is known beforehand costs no training"
    complete = [row for row in rows if row.state == "complete"]
    assert all({"accuracy", "loss", "params", "macs"} == set(row.metrics) for row in complete)
    assert max(complete, key=lambda row: row.objectives["accuracy"]).digest == arch.digest
    assert rows[0].fidelity == {"epochs": 1.0, "samples": 0.5, "channels": 2.0}
    assert json.loads((folder / "reports/search.json").read_text())["trials"] == 5


def test_children_of_morphism_begin_with_their_parents_weights(folder):
    options = {"startup": 2}
    params = trying(sampler="network_morphism", sampler_options=options, training__samples=0.3, count=4, look_back=1)
    search.main(params, folder)
    (journal,) = (folder / ".winnow/trials").glob("search-*.log")
    kept = {int(path.stem) for path in (journal.with_suffix("") / "weights").glob("*.safetensors")}
    assert kept == {0, 1, 2, 3}
    assert '"winnow:parent"' in journal.read_text()


OWN = """
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))

    def forward(self, x):
        return (x + self.body(x)).relu()


def build(classes, image_channels):
    body = [nn.Conv2d(image_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), Block(), Block()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
"""


def test_morphism_on_a_network_of_ones_own_ends_in_the_same_bytes(folder, tmp_path, monkeypatch):
    (tmp_path / "my_morphed.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    parts = tmp_path / "parts"
    shutil.copytree(folder, parts)

    def tried(where, count):
        own = {"sampler_options": {"startup": 2}, "training__samples": 0.3, "count": count, "look_back": 1}
        search.main(
            trying(sampler="network_morphism", space={"name": "auto", "model": "my_morphed:build"}, **own), where
        )

    tried(folder, 5)
    for count in (3, 5):
        tried(parts, count)
    one, other = ([(r.digest, r.objectives) for r in rows_of(each)] for each in (folder, parts))
    assert one == other
    whole = {path.name: path.read_bytes() for path in (folder / ".winnow").rglob("*.safetensors")}
    assert {path.name: path.read_bytes() for path in (parts / ".winnow").rglob("*.safetensors")} == whole
    assert len(whole) == 5
    sys.modules.pop("my_morphed")


def test_inherited_weights_make_the_supernet_first(folder):
    rows, _ = searched(trying(evaluator="inherited", sampler="regularised_evolution"), folder)
    assert (folder / files.SUPERNET).is_file()
    selections = json.loads((folder / files.SELECTIONS).read_text())["methods"]["best"]
    assert selections["inherited_accuracy"] is not None
    assert len({row.objectives["accuracy"] for row in rows}) > 1


def test_proxies_need_no_training(folder):
    objectives = {"synflow": "maximize", "naswot": "maximize"}
    rows, _ = searched(trying(evaluator="proxy", proxy__names=["synflow", "naswot"], objectives=objectives), folder)
    assert all({"synflow", "naswot", "params", "macs"} == set(row.metrics) for row in rows if row.state == "complete")


def test_a_finished_study_is_a_benchmark_for_the_next(folder):
    first, _ = searched(trying(objectives={"accuracy": "maximize"}), folder)
    shutil.copy(folder / files.TRIALS, folder / "bench.parquet")
    table = Table.read(folder / "bench.parquet")
    again = trying(evaluator="table", table__path="bench.parquet", table__fidelity={"epochs": 1.0}, count=40)
    with pytest.raises(Refused, match="the table does not have"):
        search.main(again, folder)
    row = first[0]
    at = table.row(Architecture.from_json(row.architecture))
    assert table.column("accuracy", {"epochs": 1.0})[at] == pytest.approx(row.metrics["accuracy"])


def test_a_predictor_that_is_fitted_to_another_table_scores_architectures(folder):
    """Descriptions read the table of another space; numbers of decisions do not, and it is said so."""
    rng, rows = random.Random(0), []
    for number in range(12):
        arch = Architecture.of({f"block/{i}": rng.choice(OPS) for i in range(8)})
        text, worth = arch.to_json(), {"worth": float(number)}
        rows.append(Row(number, text, arch.digest, text, {}, {}, worth, "complete", None, 0, {}, 0.0, "", ""))
    write_table(folder / "other.parquet", as_table(rows))
    given = {"predictor__table": "other.parquet", "predictor__metric": "worth", "objectives": {"predicted": "maximize"}}
    found, arch = searched(trying(evaluator="predictor", **given), folder)
    assert {"predicted", "params", "macs"} == set(found[0].metrics)
    assert len({row.metrics["predicted"] for row in found}) > 1
    assert max(found, key=lambda row: row.metrics["predicted"]).digest == arch.digest
    with pytest.raises(Refused, match="take tg_nas, which reads descriptions"):
        search.main(trying(evaluator="predictor", **given, predictor__name="ridge"), folder)


def test_limits_that_nothing_meets_end_in_a_sentence(folder):
    with pytest.raises(Refused, match=r"none of 5 trials meets the constraints; nearest is trial \d, whose params is"):
        search.main(trying(constraints={"params": {"max": 4822}}), folder)  # the smallest has just that
    with pytest.raises(Refused, match="objective 'beauty' is not among what the evaluator returns: accuracy, loss"):
        search.main(trying(objectives={"beauty": "maximize"}), folder)


@pytest.mark.slow  # make chaos kills this stage too
def test_a_killed_search_ends_as_one_that_was_not(folder, tmp_path):
    params = trying(count=6, training__epochs=2, objectives={"accuracy": "maximize", "params": "minimize"})
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    search.main(params, whole)
    dump = params.model_dump()
    dump["trials"] |= {"executor": "processes", "workers": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(dump))
    command = [sys.executable, "-m", "winnow", "search", "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    journal = None
    while journal is None or journal.read_text().count('"winnow"') < 2:  # two trials have ended
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        journal = next((folder / ".winnow/trials").glob("search-*.log"), None)
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "going on with study search-" in done.stdout
    found, expected = (pq.read_table(each / files.TRIALS).drop_columns(MEASURED) for each in (folder, whole))
    assert found.equals(expected)
    for name in ("reports/trials.csv", "reports/search.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


@pytest.fixture(scope="module")
def selected(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("selected") / "work"
    shutil.copytree(prepared, folder)
    searched(trying(evaluator="proxy", objectives={"naswot": "maximize"}, count=3), folder)
    return folder


def test_tuning_begins_with_the_recipe_as_it_stands_and_ends_no_worse(selected):
    params = tiny(tune__trials=3)
    tune.main(params, selected)
    rows, told = rows_of(selected, files.TUNE_TRIALS), json.loads((selected / "reports/tune.json").read_text())
    base = params.retrain.recipe()
    assert json.loads(rows[0].parameters) == {"lr": base.lr, "weight_decay": base.weight_decay}
    assert told["accuracy"] == max(row.objectives["accuracy"] for row in rows if row.state == "complete")
    assert told["accuracy"] >= told["accuracy_as_it_stands"]
    tuned = json.loads(rows[told["best_trial"]].parameters)
    assert {name: getattr(recipe_of(params, selected), name) for name in tuned} == tuned
    assert recipe_of(params, selected).epochs == base.epochs, "the trials were shorter, retraining is not"
    with pytest.raises(Refused, match=r"was made for epochs 2, params.yaml says 3: run `winnow tune` again"):
        recipe_of(tiny(retrain__epochs=3), selected)


def test_more_trials_go_on_and_a_finished_study_begins_anew(selected, capsys):
    tune.main(tiny(tune__trials=4, tune__epochs=1, tune__sampler="random"), selected)
    four = rows_of(selected, files.TUNE_TRIALS)
    tune.main(tiny(tune__trials=5, tune__epochs=1, tune__sampler="random"), selected)
    assert "4 of 5 trials are there" in capsys.readouterr().out
    assert rows_of(selected, files.TUNE_TRIALS)[:4] == four
    tune.main(tiny(tune__trials=5, tune__epochs=1, tune__sampler="random"), selected)
    assert "are there" not in capsys.readouterr().out, "asked for again, it is done again"
    for again, once in zip(rows_of(selected, files.TUNE_TRIALS), four, strict=False):
        assert (again.parameters, again.metrics) == (once.parameters, once.metrics)


def test_a_recipe_that_diverges_fails_its_trial_alone(selected):
    ranges = {"lr": {"choices": [0.1, 1e30]}, "clip": {"choices": [None, 1e9]}}
    tune.main(tiny(tune__trials=4, tune__sampler="brute_force", tune__ranges=ranges), selected)
    rows = rows_of(selected, files.TUNE_TRIALS)
    wild = [row for row in rows if json.loads(row.parameters)["lr"] > 1]
    assert {row.state for row in wild} == {"failed"}
    assert all("the loss is" in row.error for row in wild)
    assert json.loads((selected / files.RECIPE).read_text())["recipe"]["lr"] == 0.1


def test_no_trials_leave_the_recipe_as_it_stands(selected):
    params = tiny(tune__trials=0)
    tune.main(params, selected)
    assert recipe_of(params, selected) == params.retrain.recipe()
    assert rows_of(selected, files.TUNE_TRIALS) == []


def test_econas_halves_the_cost_of_dense_convolutions_a_step():
    assert [reduced(36, step) for step in range(5)] == [36, 25, 18, 13, 9]
    assert reduced(32, 4) == 8


def test_equal_networks_are_evaluated_once_where_asked(folder):
    rows, _ = searched(trying(evaluator="proxy", objectives={"params": "minimize"}, identity="wired", count=60), folder)
    repeats = [row for row in rows if row.copy_of is not None and row.digest != rows[row.copy_of].digest]
    assert repeats, "among sixty trials some are another writing of a network that was there"
    assert all(wired(json.loads(r.architecture)) == wired(json.loads(rows[r.copy_of].architecture)) for r in repeats)


def test_a_cell_of_nas_bench_101_is_evaluated_once_in_whatever_way_it_is_answered(folder):
    space = {"name": "nas_bench_101", "options": {"channels": 4, "cells": 1, "nodes": [3]}}
    given = {"identity": "cell", "space": space, "objectives": {"params": "minimize"}, "evaluator": "proxy"}
    search.main(trying(sampler="random", count=10, **given), folder)
    rows = rows_of(folder)
    repeats = [row for row in rows if row.copy_of is not None and row.digest != rows[row.copy_of].digest]
    assert repeats
    cells = [nb101_cells.identity(Architecture.from_json(row.architecture)) for row in rows]
    assert all(cells[row.number] == cells[row.copy_of] for row in repeats)
    assert len(set(cells)) == sum(row.copy_of is None for row in rows)
    search.main(trying(sampler="regularised_evolution", count=6, **given), folder)
    assert all(row.copy_of is None for row in rows_of(folder)), "evolution asks for cells that it has not had"
    with pytest.raises(Refused, match="'cell' is known of nas_bench_101; take digest"):
        trying(identity="cell")


LEVELS = {"cycles": 3, "initial": 4, "continued": [2, 1], "parents": [2, 1, 1], "channels": 2, "resolution": 0}


def levels(**changes):
    own = {"search.econas": LEVELS | {"samples": 0.3} | changes, "search.epochs": 3}
    return tiny(search__strategy="econas", select__methods=["best"], **own)


def test_econas_trains_the_promising_longer_and_takes_the_best_of_the_last_level(folder):
    rows, arch = searched(levels(), folder)
    assert [row.fidelity["epochs"] for row in rows[:8]] == [1, 1, 1, 1, 2, 2, 1, 1]
    last = [row for row in rows if row.fidelity["epochs"] == 3]
    assert arch.digest == max(last, key=lambda row: (row.objectives["accuracy"], -row.number)).digest
    assert rows[0].fidelity == {"epochs": 1.0, "channels": 2.0, "samples": pytest.approx(0.3)}
    told = csv.DictReader((folder / "reports/trials.csv").read_text().splitlines())
    assert next(row["trial"] for row in told if row["best"]) == str(last[0].number), "no earlier level is the best"
    found = json.loads((folder / files.SELECTIONS).read_text())
    assert found["methods"]["best"]["digest"] == arch.digest


def test_a_network_trained_in_levels_is_the_one_trained_in_one_go(folder, tmp_path):
    """Bit for bit: weights, momentum, statistics and the order of the batches."""
    params, left = levels(), {}
    arch = final_space(params, folder).decide(lambda d: d.values[-1])
    segmented = evaluators.search(str(folder), params.model_dump(mode="json"), "cpu", None, str(tmp_path / "states"))
    whole = replace(segmented, segments=None)

    def job(number, epochs, parent):
        return Job(number, 7 + number, {}, arch, {"epochs": epochs}, parent)

    def keeping(evaluate):
        return replace(evaluate, keep=lambda number, arch, model, seed: left.update({number: model.state_dict()}))

    metrics = [keeping(segmented)(job(n, n + 1.0, n - 1 if n else None)) for n in range(3)]
    assert keeping(whole)(job(0, 3.0, None)) == metrics[-1]
    assert metrics[0] != metrics[1] != metrics[2]
    assert all(torch.equal(value, left[2][name]) for name, value in left[0].items())
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == ["0.state", "1.state"]
    (tmp_path / "states/0.state").write_bytes(b"cut")
    with pytest.raises(
        Refused, match=r"0.state, which a network goes on from, cannot be read .*: begin the study anew"
    ):
        segmented(job(1, 2.0, 0))


def test_a_segment_begins_at_the_rate_where_the_one_before_ended():
    own = {"search.epochs": 60, "search.lr": 0.1, "search.lr_min": 0.0}
    params = tiny(search__strategy="econas", select__methods=["best"], **own)
    recipe = recipe_of_trials(params)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], recipe.lr)
    schedule, rates = schedule_of(optimiser, recipe, 1), []
    for _ in range(60):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert (rates[0], rates[20], rates[40]) == pytest.approx((0.1, 0.075, 0.025))
    assert plan_of_search(params).fidelity == {"epochs": 60.0, "channels": 4.0, "resolution": 4.0}


def test_cells_of_nothing_are_given_no_second_segment(folder):
    params = levels()
    evaluate = evaluators.search(str(folder), params.model_dump(mode="json"), "cpu", None, str(folder / "states"))
    arch = final_space(params, folder).decide(lambda d: "none")
    with pytest.raises(Infeasible):
        evaluate(Job(0, 0, {}, arch, {"epochs": 1.0}))
    assert not (folder / "states").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"search__epochs": 4},
            r"search.epochs \(4\) are those of all 3 levels together, in equal parts: set them to 3",
        ),
        ({"search__econas": {"continued": [1]}}, "3 levels .* have 2 from which .* so it takes 2 numbers, not 1"),
        ({"search__econas": {"continued": [8, 0]}}, "continued: 0 lets no network on"),
        ({"search__econas": {"parents": [0, 5, 5]}}, "parents: at first every network is of level 1"),
        ({"search__econas": {"cycles": 1}}, "cycles: a network takes 2 cycles to the last of 3 levels"),
        ({"search__econas": {"age": 0}}, "age"),
        ({"search__trials__sampler": "random"}, "search.trials.sampler: strategy 'econas' has a study of its own"),
        ({"search__trials__training": {"epochs": 9}}, "search.trials.training: strategy 'econas' has a study"),
        ({"search__trials__objectives": {"accuracy": "maximize", "params": "minimize"}}, "takes one objective, not 2"),
        ({"select__methods": ["evolution"]}, "select with best"),
        ({"trials__executor": "processes", "trials__workers": 29}, "29 workers .* need as many or more, not 28"),
    ],
)
def test_what_econas_cannot_do_is_said_at_the_door(changes, text):
    with pytest.raises(Refused, match=text):
        tiny(**{"search__strategy": "econas", "search__epochs": 3, "select__methods": ["best"], **changes})
