"""Batch norms that only scale and shift, computed within the convolution before them: one pass over a map, not two."""

from collections.abc import Callable, Sequence

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(body: nn.Module, pairs: Sequence[tuple[str, str]]) -> Callable[[], None]:
    """Compute the batch norms of `pairs` within their convolutions; return what gives `body` its own layers back.

    Args:
        body: whose layers they are. Meanwhile its state dict holds the folded ones.
        pairs: names of a convolution and of the batch norm that alone takes what it makes. Both have to be in
            evaluation mode, and stay as they are.
    """
    own = {name: body.get_submodule(name) for pair in pairs for name in pair}
    for convolution, norm in pairs:
        layer, after = own[convolution], own[norm]
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        body.set_submodule(convolution, fuse_conv_bn_eval(layer, after).requires_grad_(False))
        body.set_submodule(norm, nn.Identity())

    def unfold() -> None:
        for name, layer in own.items():
            body.set_submodule(name, layer)

    return unfold
