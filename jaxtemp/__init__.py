"""Temperature softmax and its thermodynamics, right everywhere, in JAX."""

from importlib.metadata import PackageNotFoundError as _NotInstalled
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from ._on_demand import on_demand as _on_demand
from .boltzmann import checked as checked
from .boltzmann import entropy as entropy
from .boltzmann import free_energy as free_energy
from .boltzmann import heat_capacity as heat_capacity
from .boltzmann import log_softmax as log_softmax
from .boltzmann import logsumexp as logsumexp
from .boltzmann import mean_energy as mean_energy
from .boltzmann import softmax as softmax

if TYPE_CHECKING:
    from . import calibration as calibration
    from . import kernels as kernels
    from . import learning as learning
    from . import losses as losses
    from . import plot as plot
    from . import policies as policies
    from . import random as random
    from . import sampling as sampling
    from . import sparse as sparse
    from .random import categorical as categorical
    from .random import gumbel_softmax as gumbel_softmax
    from .sampling import sample as sample
    from .sparse import entmax as entmax
    from .sparse import sparsemax as sparsemax

__getattr__, __dir__ = _on_demand(
    __name__,
    modules=(
        *("calibration", "kernels", "learning", "losses"),
        *("plot", "policies", "random", "sampling", "sparse"),
    ),
    names={
        "random": ("categorical", "gumbel_softmax"),
        "sampling": ("sample",),
        "sparse": ("entmax", "sparsemax"),
    },
)

try:
    __version__ = _version("jaxtemp")
except _NotInstalled:  # run from a checkout, as on a machine that installs nothing
    __version__ = "0+unknown"
