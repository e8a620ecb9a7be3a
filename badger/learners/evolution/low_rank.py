"""Low-rank perturbations W + A B^T of matrices that members share; linear maps never add them up."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from badger.learners.evolution.perturbations import LowRank

_SIZES = frozenset({"dim", "numel", "size"})
_NEW = frozenset({"new_empty", "new_full", "new_ones", "new_tensor", "new_zeros"})


class LowRankWeights(TorchFunctionMode):
    """Mode in which parameters have a low-rank perturbation: x W^T is computed as x W^T + (x B) A^T.

    Members of a `vmap` share the product with W, one large matrix product, and each adds its own narrow one. Any other
    function of such a parameter gets the sum W + A B^T, which is computed once.

    Args:
        perturbations: of each parameter, of one member.

    Source: Sarkar et al. 2025, arXiv:2511.16652, section 4.
    """

    def __init__(self, perturbations: Mapping[nn.Parameter, LowRank]):
        super().__init__()
        self.perturbations, self.sums = perturbations, dict[nn.Parameter, Tensor]()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls a function of torch, inside of which the mode is off.

        Args:
            func: the function.
            types: not used.
            args: of the function.
            kwargs: of the function.
        """
        kwargs = kwargs or {}
        if func is linear and not kwargs and self._is_perturbed(args[1]):
            left, right = self.perturbations[args[1]]
            return linear(*args) + (args[0] @ right) @ left.mT
        name = getattr(func, "__name__", "")
        if name in _SIZES or (name == "__get__" and not isinstance(func(*args), Tensor)):  # such as `device`
            return func(*args, **kwargs)
        if name in _NEW and self._is_perturbed(args[0]):  # of a factor, whose dtype is the same, so that vmap maps it
            return func(self.perturbations[args[0]].left, *args[1:], **kwargs)
        return func(*self._with_sums(args), **{key: self._with_sums(value) for key, value in kwargs.items()})

    def _is_perturbed(self, value: Any) -> bool:
        return isinstance(value, nn.Parameter) and value in self.perturbations

    def _with_sums(self, value: Any) -> Any:
        """The sum in place of each perturbed parameter, also within lists and tuples."""
        if type(value) in (list, tuple):
            return type(value)(self._with_sums(part) for part in value)
        if not self._is_perturbed(value):
            return value
        if value not in self.sums:
            left, right = self.perturbations[value]
            self.sums[value] = value + left @ right.mT
        return self.sums[value]
