"""train.packing: any tensors in one file, shared ones once."""

import pytest
import torch
from safetensors.torch import load, save

from winnow.core.errors import Refused
from winnow.train.packing import apart, from_bytes, to_bytes, together

BOTH = torch.arange(6.0)
TENSORS = {
    "plain": torch.ones(2, 3),
    "same": BOTH,
    "again": BOTH,
    "left": BOTH[:3],
    "right": BOTH[3:],
    "other shape": BOTH.view(2, 3),
    "turned": torch.arange(6.0).view(2, 3).t(),
    "last": torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "spread": torch.ones(1).expand(4),
    "empty": torch.zeros(0, 3),
    "empty too": torch.zeros(0, 4),
    "number": torch.tensor(3),
    "bool": torch.tensor([True, False]),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "complex64": torch.tensor([1 + 2j]),
    "complex128": torch.tensor([1 + 2j], dtype=torch.complex128),
    "conjugate": torch.tensor([1 + 2j]).conj(),
    "conjugate128": torch.tensor([1 + 2j], dtype=torch.complex128).conj(),
}


def equal(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in expected.items()
    )


def test_every_kind_of_tensor_comes_back():
    plain, rest = apart(TENSORS)
    assert equal(together(load(save(plain)), rest), TENSORS)
    assert equal(from_bytes(to_bytes(TENSORS)), TENSORS)


def test_what_is_shared_is_written_once():
    plain, rest = apart({"a": BOTH, "b": BOTH, "c": torch.ones(1)})
    assert list(plain) == ["a", "c"]
    assert rest == {"alike": {"b": "a"}}
    assert apart({"a": torch.ones(2), "b": torch.ones(2)})[1] == {}


def test_a_state_that_is_no_tensor_is_named():
    with pytest.raises(Refused, match=r"'extra._extra_state' of the network's state is a dict"):
        apart({"extra._extra_state": {"steps": 3}})
