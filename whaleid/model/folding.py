"""Batch norms that only scale and shift, computed within the convolution before them: one pass over a map, not two."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Folding:
    """The batch norms of `pairs`, computed within their convolutions while the block of `folded` lasts.

    Args:
        body: whose layers they are. Meanwhile its state dict holds the folded ones.
        pairs: names of a convolution and of the batch norm that alone takes what it makes. Both have to be in
            evaluation mode, and stay as they are.
    """

    def __init__(self, body: nn.Module, pairs: Sequence[tuple[str, str]]) -> None:
        self.body = body
        self._own = {name: body.get_submodule(name) for pair in pairs for name in pair}
        self._folded: dict[str, nn.Module] = {}
        for convolution, norm in pairs:
            layer, after = self._own[convolution], self._own[norm]
            assert isinstance(layer, nn.Conv2d)
            assert isinstance(after, nn.BatchNorm2d)
            self._folded[convolution] = fuse_conv_bn_eval(layer, after).requires_grad_(False)
            self._folded[norm] = nn.Identity()

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Compute as folded; give `body` its own layers back afterwards."""
        self._put(self._folded)
        try:
            yield
        finally:
            self._put(self._own)

    def _put(self, layers: Mapping[str, nn.Module]) -> None:
        for name, layer in layers.items():
            self.body.set_submodule(name, layer)
