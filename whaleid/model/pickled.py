"""What a file of torch would build, told from its pickles before any of them is loaded.

`torch.load(weights_only=True)` runs no foreign code, but calls functions that make memory out of nothing (`bytearray`,
`_codecs.encode`), and hashes or prints what it meets: tuples that name each other thirty times over take it minutes.
"""

import io
import pickletools
from typing import BinaryIO

import torch

CALLED = {
    "collections OrderedDict",
    "torch.nn.parameter Parameter",
    *(f"torch._utils {name}" for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")),
}
"""All that tensors and plain values need, but for the types of storages."""
PARTS = 1_000_000
"""The most of all that a pickle builds: a network of a thousand tensors has some 20,000."""
LEGACY = 5
"""Pickles in a file of torch before 1.6: a magic number, the format's version, the system, the object, its storages."""
MADE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "NEWOBJ": 2, "REDUCE": 2, "BINPERSID": 1, "STOP": 1}
"""Of operations of a pickle, from how many objects they make one."""
ADDED = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
"""Of others, how many objects they add to the one below them."""
PLAIN = {
    *("NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("SHORT_BINSTRING", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "GLOBAL"),
}
"""Operations that make an object of nothing else."""


class Parts:
    """How many parts an object has, those that are shared counted wherever they are named."""

    def __init__(self, of: "list[Parts]") -> None:
        self.count = 1
        self.add(of)

    def add(self, of: "list[Parts]") -> None:
        """Count what comes in.

        Raises:
            ValueError: there are too many.
        """
        self.count += sum(each.count for each in of)
        if self.count > PARTS:
            raise ValueError(f"it builds more than {PARTS:,} parts")


def check(data: bytes) -> None:
    """Refuse a file of torch that is more than tensors and plain values, or more than can be gone through in a second.

    Raises:
        ValueError: it is, or it is damaged.
        IndexError, KeyError, RuntimeError: it is damaged.
    """
    if data[:2] == b"PK":
        _check(io.BytesIO(torch._C.PyTorchFileReader(io.BytesIO(data)).get_record("data.pkl")))
    else:
        pickles = io.BytesIO(data)
        for _ in range(LEGACY):
            _check(pickles)


def _check(pickle: BinaryIO) -> None:
    """Go through one pickle, to its end, as a machine that only counts."""
    stack: list[Parts] = []
    marked: list[list[Parts]] = []  # what lies below each mark
    memo: dict[object, Parts] = {}
    for operation, argument, _ in pickletools.genops(pickle):
        name = operation.name
        if name == "GLOBAL" and not _is_called(str(argument)):
            raise ValueError(f"it calls {argument}")
        if name in PLAIN:
            stack.append(Parts([]))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marked.append(stack)
            stack = []
        elif name in ("TUPLE", "APPENDS", "SETITEMS"):
            items, stack = stack, marked.pop()
            if name == "TUPLE":
                stack.append(Parts(items))
            else:
                stack[-1].add(items)
        elif name in MADE:
            stack.append(Parts([stack.pop() for _ in range(MADE[name])]))
        elif name in ADDED:
            items = [stack.pop() for _ in range(ADDED[name])]
            stack[-1].add(items)
        elif name != "PROTO":
            raise ValueError(f"its pickle is not of torch: it has {name}")


def _is_called(name: str) -> bool:
    return name in CALLED or (name.startswith("torch ") and name.endswith("Storage"))
