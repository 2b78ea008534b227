"""Experts made of prompts: a mixture of prompts over one LLM, built from examples (arXiv 2407.00256).

    demos      the examples, read and checked
    config     every hyperparameter of a build
    asking     how the model is asked: bounded, billed; `calls` keeps the answers on disk
    metrics    how an answer is scored against a demo's output
    regions    demo clustering and the regions' radii
    plan       the split of the demos, and what a build will ask
    induction  instruction candidates that the model itself writes
    examining  asking under a prompt and scoring the answer
    pool       demos and their embeddings: the nearest to a request
    demo_sets  which demos a prompt may show
    search     region-based joint search; `estimates` is its statistics
    evidence   what the result measures on held-out demos
    build      the whole of it
    mixture    what comes out: choosing a region, and the demos nearest to a request
    layout     instruction and demos in front of a conversation
    artefact   the folder that it is saved to
    baselines  what it is compared with

`mixture`, `pool`, `artefact` and `layout` serve requests and need numpy and safetensors alone; building
needs the extra `fit`.
"""
