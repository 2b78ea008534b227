"""Evaluation of strategies on outcome tables with answers. The policies are `routers.strategies`, their fits
`routers.strategy_fitting`."""
