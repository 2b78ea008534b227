"""From labelled prompts and an outcome table to a composition, with held-out evidence.

Everything that is chosen (classifier, temperature, correction, weights, thresholds, fallback expert)
is chosen on predictions for prompts that the predicting models have not seen; what is kept is then
fitted on all of them.
"""

from routers.fitting.compose import Fit, fit, fit_composition
from routers.fitting.fit_options import FitError, FitOptions, Labelled

__all__ = ["Fit", "FitError", "FitOptions", "Labelled", "fit", "fit_composition"]
