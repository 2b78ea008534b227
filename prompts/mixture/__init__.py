"""Mixtures of prompts over one LLM, built from demos (arXiv 2407.00256); `build` runs all steps.

`mixture`, `pool`, `artefact` and `layout` serve requests and need only numpy and safetensors; building needs
the extra `fit`.
"""
