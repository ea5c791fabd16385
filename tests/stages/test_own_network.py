"""What a user writes to have a network of their own made smaller: so many lines, counted, and nothing else."""

import json

import yaml

from winnow.config.reading import check_params
from winnow.pipelines import prepare, search, select
from winnow.run import files

NETWORK = """
from torch import nn
def build(image_channels, classes):
    return nn.Sequential(nn.Conv2d(image_channels, 16, 3), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, classes))
"""
PARAMETERS = """
space: {name: auto, model: "my_net:build"}
search: {strategy: sandwich}
select: {methods: [evolution], max_macs: 50%}
evaluate: {against: [original, random]}
"""


def lines(text: str) -> int:
    return len(text.strip().splitlines())


def test_three_lines_of_python_and_four_of_parameters(tmp_path):
    assert (lines(NETWORK), lines(PARAMETERS)) == (3, 4)
    (tmp_path / "my_net.py").write_text(NETWORK)
    content = yaml.safe_load(PARAMETERS)
    content["search"] |= {"epochs": 1, "batch": 32}
    content["data"] = {"limit_train": 200}
    content["select"]["evolution"] = {"population": 4, "generations": 0, "parents": 2}
    content["evaluate"]["controls"], content["tracking"] = 1, {"enabled": False}
    params = check_params(content)
    for stage in (prepare, search, select):
        stage.main(params, tmp_path)
    told = json.loads((tmp_path / files.SELECTIONS).read_text())["methods"]["evolution"]
    whole = 16 * 9 * 36 + 16 * 16 * 9 * 16 + 256 * 10
    assert 0 < told["macs"] <= whole / 2
