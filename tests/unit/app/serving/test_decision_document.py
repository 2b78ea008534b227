"""A decision's fields are listed once: documents, rows and headers show what the decision has."""

from dataclasses import fields, replace

from app.serving.answer_record import AnswerRecord
from app.serving.chat_body import ChatBody, ChatRequest
from app.serving.decision_document import decision_document, decision_headers, stored_document
from app.serving.request_context import RequestContext
from app.storage.rows import DecisionRow
from routers.decision import UNSEEN, Decision
from tests.unit.routers.world import about, routed

BODY = {"model": "coterie", "messages": [{"role": "user", "content": "Hi"}]}
CHAT = ChatRequest(ChatBody.model_validate(BODY), BODY, request_id="req_1")


def test_every_field_of_a_decision_is_in_its_document_and_in_what_is_stored() -> None:
    decision = routed(about("coding"))
    document = decision_document(decision)
    assert {field.name for field in fields(Decision)} - UNSEEN <= set(document)
    row = DecisionRow(**AnswerRecord(CHAT, decision, RequestContext()).columns("ok", 200))
    stored = stored_document(row)
    assert {name: stored[name] for name in document} == document
    assert list(document) == [name for name in stored if name in document]


def test_text_is_stored_only_when_it_is_to_be_kept() -> None:
    decision = routed(about("coding"))
    for keep in (False, True):
        record = AnswerRecord(CHAT, decision, RequestContext(), keep_text=keep)
        row = DecisionRow(**record.columns("ok", 200))
        assert (stored_document(row).get("messages") == BODY["messages"]) is keep


def test_headers_are_ascii_whatever_the_names_are() -> None:
    headers = decision_headers(replace(routed(about("coding")), category="Übersetzung"))
    assert headers["x-coterie-category"] == "?bersetzung"
