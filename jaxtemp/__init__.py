"""Temperature softmax and its thermodynamics, right everywhere, in JAX."""

from importlib.metadata import PackageNotFoundError as _NotInstalled
from importlib.metadata import version as _version

from .boltzmann import checked as checked
from .boltzmann import entropy as entropy
from .boltzmann import free_energy as free_energy
from .boltzmann import heat_capacity as heat_capacity
from .boltzmann import log_softmax as log_softmax
from .boltzmann import logsumexp as logsumexp
from .boltzmann import mean_energy as mean_energy
from .boltzmann import softmax as softmax
from .random import categorical as categorical
from .sampling import sample as sample

try:
    __version__ = _version("jaxtemp")
except _NotInstalled:  # run from a checkout, as on a machine that installs nothing
    __version__ = "0+unknown"
