"""Drawing tokens: filters, penalties, chains of both, and decoding loops.

- `sample` draws from tempered, truncated logits in a few passes over them.
- `filters` and `penalties` are pure functions from logits to logits.
- `chain` composes `steps` of both; `presets` are the chains of other systems.
- `generate`, `beam` and `speculative` decode with a model of yours.

What is named after a module is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from .._on_demand import on_demand as _on_demand
from ._sample import sample as sample

if TYPE_CHECKING:
    from . import beam as beam
    from . import filters as filters
    from . import penalties as penalties
    from . import presets as presets
    from . import speculative as speculative
    from . import steps as steps
    from ._chain import Chain as Chain
    from ._chain import chain as chain
    from ._generate import Generated as Generated
    from ._generate import generate as generate
    from ._log_probs import Drawn as Drawn
    from ._log_probs import LogProbs as LogProbs
    from ._log_probs import sample_with_log_probs as sample_with_log_probs
    from ._step import Context as Context
    from ._step import Step as Step

__getattr__, __dir__ = _on_demand(
    __name__,
    modules=("beam", "filters", "penalties", "presets", "speculative", "steps"),
    names={
        "_chain": ("Chain", "chain"),
        "_generate": ("Generated", "generate"),
        "_log_probs": ("Drawn", "LogProbs", "sample_with_log_probs"),
        "_step": ("Context", "Step"),
    },
)
