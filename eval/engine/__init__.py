"""The engine: Inspect AI runs a benchmark against contestants; answers and judgments are kept and reused.

`eval.engine.run.run_benchmark` is the way in. Knows nothing of which benchmarks there are.
"""
