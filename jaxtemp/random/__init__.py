"""Draws at a temperature: exact, relaxed, and with gradients through them.

- `categorical` and `gumbel_top_k` draw classes, with and without replacement.
- `gumbel_softmax`, `gumbel_sigmoid`, `relaxed_top_k` and `gumbel_sinkhorn` draw relaxed
  classes, bits, sets and permutations, differentiable in logits and temperature.
- `ExpConcrete`, `Concrete`, `LogitBinaryConcrete` and `BinaryConcrete` are the laws of
  relaxed draws; `ordered_log_prob` and `subset_log_prob` those of draws without
  replacement.
- `estimators` are gradients of expected losses; `perturbed` those of a black box.
- `gumbel` and `logistic` are the noise beneath.

All but the first of these is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from .._on_demand import on_demand as _on_demand
from ._categorical import categorical as categorical
from ._gumbel import GumbelTopK as GumbelTopK
from ._gumbel import gumbel_top_k as gumbel_top_k
from ._gumbel_softmax import gumbel_softmax as gumbel_softmax
from ._gumbel_softmax import log_gumbel_softmax as log_gumbel_softmax

if TYPE_CHECKING:
    from . import estimators as estimators
    from ._gumbel_sigmoid import gumbel_sigmoid as gumbel_sigmoid
    from ._gumbel_sigmoid import log_gumbel_sigmoid as log_gumbel_sigmoid
    from ._perturbed import perturbed as perturbed
    from ._relaxed_top_k import relaxed_top_k as relaxed_top_k
    from ._sinkhorn import GumbelSinkhorn as GumbelSinkhorn
    from ._sinkhorn import gumbel_sinkhorn as gumbel_sinkhorn
    from ._standard import gumbel as gumbel
    from ._standard import logistic as logistic
    from ._subsets import ordered_log_prob as ordered_log_prob
    from ._subsets import subset_log_prob as subset_log_prob
    from .concrete import BinaryConcrete as BinaryConcrete
    from .concrete import Concrete as Concrete
    from .concrete import Estimate as Estimate
    from .concrete import ExpConcrete as ExpConcrete
    from .concrete import LogitBinaryConcrete as LogitBinaryConcrete
    from .concrete import kl_divergence as kl_divergence

__getattr__, __dir__ = _on_demand(
    __name__,
    modules=("estimators",),
    names={
        "_gumbel_sigmoid": ("gumbel_sigmoid", "log_gumbel_sigmoid"),
        "_perturbed": ("perturbed",),
        "_relaxed_top_k": ("relaxed_top_k",),
        "_sinkhorn": ("GumbelSinkhorn", "gumbel_sinkhorn"),
        "_standard": ("gumbel", "logistic"),
        "_subsets": ("ordered_log_prob", "subset_log_prob"),
        "concrete": (
            "BinaryConcrete",
            "Concrete",
            "Estimate",
            "ExpConcrete",
            "LogitBinaryConcrete",
            "kl_divergence",
        ),
    },
)
