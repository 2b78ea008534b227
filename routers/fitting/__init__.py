"""From labelled prompts and an outcome table to a composition.

All hyperparameters (classifier, temperature, correction, weights, thresholds, fallback expert) are chosen by
cross-validation; the result is then fitted on all prompts.
"""

from routers.fitting.compose import Fit, fit
from routers.fitting.fit_options import FitError, FitOptions, Labelled

__all__ = ["Fit", "FitError", "FitOptions", "Labelled", "fit"]
