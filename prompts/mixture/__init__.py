"""Experts made of prompts: a mixture of prompts over one LLM, built from examples (arXiv 2407.00256).

    demos      the examples, read and checked
    config     every hyperparameter of a build
    asking     how the model is asked: bounded, billed; `calls` keeps the answers on disk
    regions    demo clustering and the regions' radii
    induction  instruction candidates that the model itself writes
    search     region-based joint search
    build      the whole of it
    mixture    what comes out: choosing a region, laying out its prompt
    artefact   the folder that it is saved to
    baselines  what it is compared with

`mixture`, `artefact` and `layout` serve requests and need numpy and safetensors alone; building needs the
extra `fit`.
"""
