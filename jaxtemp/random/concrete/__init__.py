r"""The Concrete family: relaxed one-hot vectors and bits, as distributions.

| class | support | closed entropy | mode |
|---|---|---|---|
| `ExpConcrete` | logarithms of a probability vector | yes | yes |
| `Concrete` | probability vectors | no | no |
| `LogitBinaryConcrete` | real numbers, the logits of a relaxed bit | yes | yes |
| `BinaryConcrete` | relaxed bits in (0, 1) | no | no |

`sample`, `log_prob` and `sample_and_log_prob` are differentiable in logits and
temperature, forward and reverse. In log and logit space every draw has a finite
log-density down to τ = 1e-3 with 1000 classes, in float32, and further.
"""

from ._binary import BinaryConcrete as BinaryConcrete
from ._binary import LogitBinaryConcrete as LogitBinaryConcrete
from ._classes import Concrete as Concrete
from ._classes import ExpConcrete as ExpConcrete
from ._divergence import kl_divergence as kl_divergence
from ._family import Estimate as Estimate
