"""Frameworks and tools that people point at a model server: LangChain, LiteLLM, `llm` and Inspect."""

import contextlib
import gc
import io
import re
from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from app.settings import PROJECT
from tests.contracts.chat_contract import TOOL
from tests.contracts.contract import QUESTION
from tests.contracts.contract_world import Service

pytestmark = [
    # They leave connections and event loops to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning"),  # Inspect's retries
]

PAGE = (PROJECT / "docs" / "how-to" / "connect-clients.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

HEARD = f"coder heard: {QUESTION}"


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """What they leave is collected here, while the warnings of it are expected."""
    yield
    gc.collect()


class Answer(BaseModel):
    """What was heard."""

    answer: str


def look_up(text: str) -> str:
    """Look something up."""
    return f"found {text}"


@pytest.fixture(params=["chat completions", "responses"])
def langchain(request: pytest.FixtureRequest, service: Service) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        base_url=f"{service.url}/v1",
        api_key=SecretStr("none"),
        model="coterie",
        max_retries=0,
        stream_usage=True,
        use_responses_api=request.param == "responses",
    )


def test_langchain_invokes_and_streams(langchain: Any) -> None:
    whole = langchain.invoke(QUESTION)
    streamed = reduce(add, langchain.stream(QUESTION))
    assert whole.text == streamed.text == HEARD
    assert streamed.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"] > 0


def test_langchain_completes_prompts_and_embeds(service: Service) -> None:
    from langchain_openai import OpenAI, OpenAIEmbeddings

    place: dict[str, Any] = {"base_url": f"{service.url}/v1", "api_key": SecretStr("none"), "max_retries": 0}
    llm = OpenAI(model="coterie", max_tokens=50, **place)
    assert llm.invoke(QUESTION) == "".join(llm.stream(QUESTION)) == HEARD
    both = llm.generate([QUESTION, QUESTION]).generations
    assert [each.text for (each,) in both] == [HEARD, HEARD]
    # Without it LangChain sends tokens of OpenAI's models, which the encoder cannot read.
    embeddings = OpenAIEmbeddings(model="words", check_embedding_ctx_length=False, **place)
    assert embeddings.embed_documents([QUESTION, "hello"])[0] == embeddings.embed_query(QUESTION)


def test_langchain_calls_tools(langchain: Any) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage

    bound = langchain.bind_tools([look_up])
    asked = HumanMessage(QUESTION)
    for said in (bound.invoke([asked]), reduce(add, bound.stream([asked]))):
        (call,) = said.tool_calls
        assert (call["name"], call["args"]) == ("look_up", {"text": QUESTION})
        result = ToolMessage(look_up(**call["args"]), tool_call_id=call["id"])
        assert bound.invoke([asked, said, result]).text == HEARD


def test_langchain_reads_structured_output(langchain: Any) -> None:
    assert langchain.with_structured_output(Answer).invoke(QUESTION) == Answer(answer=HEARD)


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """Its prices and headers are downloads otherwise."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("MODEL_COST_MAP", "ANTHROPIC_BETA_HEADERS", "BLOG_POSTS", "POLICY_TEMPLATES"):
            environment.setenv(f"LITELLM_LOCAL_{name}", "True")
        environment.setenv("LITELLM_LOG", "CRITICAL")
        import litellm

        litellm.suppress_debug_info = True
        yield litellm
        litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(params=["openai", "anthropic"])
def asking(request: pytest.FixtureRequest, service: Service) -> dict[str, Any]:
    """LiteLLM's arguments for a chat, by provider: the dialect that it speaks to the service in."""
    base = f"{service.url}/v1" if request.param == "openai" else service.url
    return {
        "model": f"{request.param}/coterie",
        "api_base": base,
        "api_key": "none",
        "messages": [{"role": "user", "content": QUESTION}],
        "num_retries": 0,
    }


def test_litellm_completes_and_streams(litellm: Any, asking: dict[str, Any]) -> None:
    whole = litellm.completion(**asking)
    assert whole.choices[0].message.content == HEARD
    assert whole.usage.total_tokens > 0
    chunks = litellm.completion(**asking, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == HEARD


def test_litellm_calls_tools(litellm: Any, asking: dict[str, Any]) -> None:
    (call,) = litellm.completion(**asking, tools=[TOOL]).choices[0].message.tool_calls
    assert call.function.name == "look_up"


def test_litellm_asks_for_a_response(litellm: Any, service: Service) -> None:
    response = litellm.responses(
        model="openai/coterie", input=QUESTION, api_base=f"{service.url}/v1", api_key="none"
    )
    assert response.output[0].content[0].text == HEARD


@pytest.fixture(scope="module")
def llm_model(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`llm` with the service in its list of models."""
    home = tmp_path_factory.mktemp("llm")
    entry = ["- model_id: coterie", "model_name: coterie", f"api_base: {service.url}/v1"]
    able = ["supports_tools: true", "supports_schema: true"]
    (home / "extra-openai-models.yaml").write_text("\n  ".join([*entry, *able]) + "\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LLM_USER_PATH", str(home))
        import llm

        yield llm.get_model("coterie")


@pytest.mark.parametrize("stream", [False, True])
def test_llm_prompts(llm_model: Any, stream: bool) -> None:
    response = llm_model.prompt(QUESTION, key="none", stream=stream)
    assert response.text() == HEARD
    assert response.usage().output > 0


@pytest.mark.parametrize("stream", [False, True])
def test_llm_goes_on_with_what_its_tools_found(llm_model: Any, stream: bool) -> None:
    chain = llm_model.chain(QUESTION, key="none", tools=[look_up], stream=stream)
    assert chain.text() == HEARD


def test_llm_reads_structured_output(llm_model: Any) -> None:
    said = llm_model.prompt(QUESTION, key="none", schema=Answer).text()
    assert Answer.model_validate_json(said) == Answer(answer=HEARD)


async def test_inspect_generates_and_calls_tools(service: Service) -> None:
    """By its provider for Anthropic; those for OpenAI want a client that LiteLLM does not take yet."""
    from inspect_ai.model import ChatMessageTool, ChatMessageUser, Model, get_model
    from inspect_ai.tool import ToolInfo, ToolParam, ToolParams

    model: Model = get_model("anthropic/coterie", base_url=service.url, api_key="none", memoize=False)
    answer = await model.generate(QUESTION)
    assert (answer.completion, answer.stop_reason) == (HEARD, "stop")
    parameters = ToolParams(properties={"text": ToolParam(type="string")}, required=["text"])
    tool = ToolInfo(name="look_up", description="Look something up.", parameters=parameters)
    asked = ChatMessageUser(content=QUESTION)
    said = (await model.generate([asked], tools=[tool])).message
    assert said.tool_calls is not None
    (call,) = said.tool_calls
    assert (call.function, call.arguments) == ("look_up", {"text": QUESTION})
    result = ChatMessageTool(content="found", tool_call_id=call.id, function=call.function)
    assert (await model.generate([asked, said, result], tools=[tool])).completion == HEARD


@pytest.mark.parametrize("example", EXAMPLES, ids=[each.split()[1] for each in EXAMPLES])
def test_the_examples_of_the_page_run_as_they_stand(litellm: Any, service: Service, example: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example.replace("http://127.0.0.1:8000", service.url), "connect-clients.md", "exec"), {})
    assert "heard: Reverse a string in Python" in printed.getvalue()
