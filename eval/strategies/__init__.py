"""Strategies on outcome tables: what asking several experts would have scored, and what it would have cost.

Nobody is asked: the table says what each expert answered and how good that was. The live strategies are
`app/strategies`; nothing here knows of them.
"""
