"""The evaluation commands of `coterie`, one module each: they parse options, call `eval` and print."""
