"""The real encoder, exported once by `make models`; these tests are never skipped."""

import pytest

from routers.encoder import EncoderMissing, OnnxEncoder, Precision, default_encoder_folder, load_encoder


def load(precision: Precision) -> OnnxEncoder:
    try:
        return load_encoder(default_encoder_folder(), precision=precision)
    except EncoderMissing as missing:
        pytest.fail(f"{missing}: `make test` does", pytrace=False)


@pytest.fixture(scope="session")
def float32() -> OnnxEncoder:
    return load("float32")


@pytest.fixture(scope="session")
def int8() -> OnnxEncoder:
    return load("int8")
