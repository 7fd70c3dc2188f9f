"""Pictures of performances: the piano roll, and histograms of pitch, velocity and timing."""

import os
import pathlib
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from midijax.performance import PEDAL_DOWN, Performance

DOTS_PER_INCH = 110
ROLL_INCHES = (12.0, 4.5)
HISTOGRAM_INCHES = (6.0, 3.4)

INK = "#2b2b33"
FAINT = "#d9d9e0"
PAPER = "#ffffff"
BLACK_KEY_ROW = "#f4f4f7"
BAR_COLOUR = "#5b4b9a"
PEDAL_COLOUR = "#8c8ca1"
VELOCITY_COLOURS = "plasma_r"
BLACK_KEYS = (1, 3, 6, 8, 10)
