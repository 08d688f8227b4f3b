"""Pictures of what temperature does. Needs matplotlib (`jaxtemp[plot]`).

Every function draws on the axes that it is given, or makes a figure of its own, and
returns the axes; nothing touches pyplot's global state, so they work without a screen.
Colours are those of Okabe and Ito, which colour-blind readers tell apart, and no line
is told from another by colour alone.
"""

from ._likelihood import nll_curve as nll_curve
from ._reliability import reliability_diagram as reliability_diagram
from ._sweep import temperature_sweep as temperature_sweep
