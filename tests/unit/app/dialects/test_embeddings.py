"""A server's embeddings as a client reads them."""

from typing import Any

import pytest

from app.dialects.embedding_documents import in_format


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, 7),
        ({"total_tokens": 7}, 7),
        ({"prompt_tokens": None, "total_tokens": 7}, 7),
        ({"prompt_tokens": "many", "total_tokens": -7}, 0),
        ({"prompt_tokens": 10**400}, 0),
        ([], 0),
        (None, 0),
    ],
)
def test_a_count_is_a_number_whatever_the_server_told(told: Any, counted: int) -> None:
    answer = {"model": "a", "data": [{"embedding": [0.5]}], "usage": told}
    assert in_format(answer, "float")["usage"] == {"prompt_tokens": counted, "total_tokens": counted}
