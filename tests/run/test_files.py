"""Files of tensors: what is shared comes back shared, and equal content is equal bytes."""

import subprocess
import sys

import torch

from winnow.run.files import read_tensors, write_tensors

WRITE = """
import sys, torch
from pathlib import Path
from winnow.run.files import write_tensors
one = torch.arange(4.0)
write_tensors(Path(sys.argv[1]), {"a": one, "b": one, "c": one + 1}, {"space": "s"})
"""


def test_equal_content_is_equal_bytes_in_every_process(tmp_path):
    """safetensors writes several entries of metadata in an order that is each process' own."""
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for path in paths:
        subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b'"winnow.shared":' not in paths[0].read_bytes()  # an entry of its own; what is inside is escaped


def test_what_is_shared_comes_back_and_says_nothing_of_it(tmp_path):
    one = torch.arange(4.0)
    write_tensors(tmp_path / "t.safetensors", {"a": one, "b": one}, {"space": "s"})
    tensors, about = read_tensors(tmp_path / "t.safetensors", "search")
    assert tensors["a"].data_ptr() == tensors["b"].data_ptr()
    assert torch.equal(tensors["b"], one)
    assert about == {"space": "s"}


def test_a_file_of_two_entries_is_read_too(tmp_path):
    from safetensors.torch import save_file

    told = {"winnow": '{"space": "s"}', "winnow.shared": '{"alike": {"b": "a"}}'}
    save_file({"a": torch.ones(2)}, tmp_path / "t.safetensors", told)
    tensors, about = read_tensors(tmp_path / "t.safetensors", "search")
    assert torch.equal(tensors["b"], torch.ones(2))
    assert about == {"space": "s"}
