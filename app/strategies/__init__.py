"""Strategies: how many experts answer a request and how their answers become one.

Each is a LangGraph graph, compiled once, in a module of its own. Importing this package loads none of
them; `single`, the default, is `app.serving.answering` and never does.
"""
