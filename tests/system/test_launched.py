"""What a launcher's variables say."""

import pytest

from winnow.core.errors import Refused
from winnow.system.launched import Launch, launch

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}


def test_which_of_how_many_on_which_machine():
    assert launch(TORCHRUN) == Launch(3, 4, 1, 2)
    assert not Launch(3, 4, 1, 2).near
    assert launch({k: v for k, v in TORCHRUN.items() if not k.startswith("LOCAL")}) == Launch(3, 4, 3, 4)
    assert Launch(3, 4, 3, 4).near


@pytest.mark.parametrize("variables", [{}, {"RANK": "0"}, {"WORLD_SIZE": "4"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_alone(variables):
    assert launch(variables) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"RANK": "4"}, "RANK 4 of WORLD_SIZE 4, .*ranks count from 0"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK 2 of LOCAL_WORLD_SIZE 2"),
        ({"LOCAL_WORLD_SIZE": "5"}, "LOCAL_WORLD_SIZE 5"),
        ({"RANK": "first"}, "RANK takes a whole number, as torchrun sets it, not 'first'"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE takes a whole number"),
        ({"MASTER_PORT": ""}, "WORLD_SIZE is 4, and MASTER_PORT not set: start winnow by torchrun"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(changes, sentence):
    with pytest.raises(Refused, match=sentence):
        launch({**TORCHRUN, **changes})
