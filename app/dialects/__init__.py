"""The dialects of the API: how clients say a request, and how they are shown its answer.

Chat completions are the form in between: a dialect turns its requests into chat requests, and chunks or whole
completions into its own events and responses. Documents in, documents out: nothing here knows HTTP, experts
or the database.
"""
