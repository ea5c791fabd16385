"""train.ranks: several processes train as one does."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file

from tests.train.sharing import SHARED, trained
from winnow.core.errors import Refused
from winnow.data.loaders import Batches
from winnow.train import ranks


def run(meeting, count: int) -> list[dict[str, torch.Tensor]]:
    meeting.mkdir()
    command = [sys.executable, "-m", "tests.train.sharing", str(meeting)]
    running = [subprocess.Popen([*command, str(which), str(count)]) for which in range(count)]
    assert [each.wait(120) for each in running] == [0] * count
    return [load_file(meeting / f"{which}-of-{count}.safetensors") for which in range(count)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return run(tmp_path_factory.mktemp("ranks") / "two", 2)


def test_two_processes_have_equal_weights_to_the_bit(two):
    one, other = two
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture(scope="module")
def alone():
    return trained()


@pytest.mark.parametrize("method", [*SHARED, "retrain"])
def test_two_processes_train_as_one_does_but_for_rounding(two, alone, method):
    mine = {name: tensor for name, tensor in alone.items() if name.startswith(f"{method} ")}
    assert len(mine) > 3
    for name, tensor in mine.items():
        torch.testing.assert_close(two[0][name], tensor, rtol=1e-5, atol=1e-6, msg=lambda told, n=name: f"{n}: {told}")


def test_alone_nothing_changes():
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad, loss = torch.tensor([1.0, 3.0]), torch.tensor(2.0)
    assert ranks.part() == (0, 1)
    assert ranks.meet([weight], loss) == (loss,)
    assert ranks.total(loss) is loss
    assert weight.grad.tolist() == [1.0, 3.0]


def test_a_batch_that_cannot_be_shared_evenly_is_refused(split):
    with pytest.raises(Refused, match="3 processes cannot share a batch of 8 evenly"):
        Batches(split, 8, generator=torch.Generator(), part=(0, 3))


def test_parts_of_a_batch_are_the_batch(split):
    whole, *parts = (
        Batches(split, 8, generator=torch.Generator().manual_seed(0), part=part) for part in ((0, 1), (0, 2), (1, 2))
    )
    for (x, y), (x0, y0), (x1, y1) in zip(whole, *parts, strict=True):
        assert torch.equal(x, torch.cat([x0, x1]))
        assert torch.equal(y, torch.cat([y0, y1]))


@pytest.fixture
def split():
    from tests.train.sharing import batches

    return batches("weights").split


def test_who_differs_is_named_in_all_of_them(tmp_path):
    bases = [{"code": 1, "data": "a"}, {"code": 1, "data": "a"}, {"code": 2, "data": "b"}]

    def told(which):
        store = torch.distributed.FileStore(str(tmp_path / "meeting"), 3)
        with pytest.raises(Refused, match="process 2 has other code and data than process 0"):
            ranks._agree(store, which, 3, bases[which])
        return which

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(told, range(3))) == [0, 1, 2]


def test_what_no_connection_said_passes_as_it_is(tmp_path):
    def broken():
        raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"), ranks.joined(broken, 0, 2, torch.device("cpu")):
        raise AssertionError
