"""Off-line evaluation of strategies on outcome tables with answers. (The live strategies are
`app/strategies`.)"""
