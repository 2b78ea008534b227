"""The chat page: the conversation, the answer as it grows, and what the person thinks of it."""

from collections.abc import Mapping

import streamlit as st

from ui.answer_filling import ask, ask_again, rate
from ui.availability import Offer
from ui.conversation_store import AnswerState, ChatTurn, Conversation, LiveAnswer
from ui.cost_view import amount, cost_of
from ui.decision_view import headline, show_decision
from ui.markdown import plain, readable_answer
from ui.problems import show_problem
from ui.session import Console
from ui.sidebar import name_of

QUESTION = "question"
"""The key of the input box: writing to it puts text there."""
EXAMPLES = {
    ":material/code: Write code": "Write a Python function that tells whether a string is a palindrome, "
    "and explain it in two sentences.",
    ":material/calculate: Solve a problem": "A train covers 150 km in 1 hour 40 minutes. "
    "What is its average speed in km/h?",
    ":material/edit_note: Draft a letter": "Draft a short, friendly e-mail that moves a meeting "
    "from Tuesday to Thursday.",
    ":material/waving_hand: Just talk": "Hi! How is your day going?",
}
SCROLL = """
<script>
  setTimeout(() => {
    const page = document.querySelector('[data-testid="stMain"]');
    if (page) page.scrollTo({top: page.scrollHeight, behavior: "smooth"});
  }, 200);
</script>
"""
"""Shows what was just asked. From there on the page follows the answer by itself."""
ASKER, EXPERT = ":material/person:", ":material/forum:"


def show_chat(console: Console, offer: Offer) -> None:
    conversation = console.conversation
    _show_input(console, offer)
    if offer.problem is not None:
        show_problem(offer.problem, note="What you type is kept.")
    if not conversation.turns:
        _show_welcome(console)
        return
    _show_title(console, conversation)
    last = conversation.turns[-1]
    for turn in conversation.turns:
        with st.chat_message("user", avatar=ASKER):
            st.text(turn.question)
        with st.chat_message("assistant", avatar=EXPERT):
            if turn.answer.live:
                _show_live(console, offer.titles, turn)
            else:
                _show_ended(console, offer.titles, turn, is_last=turn is last)


def _show_input(console: Console, offer: Offer) -> None:
    with st.bottom:
        if console.pin.is_set:
            st.caption(f":material/push_pin: {plain(name_of(console.pin, offer))} answers")
        st.chat_input("Ask anything", key=QUESTION, on_submit=_submit, args=(console,))


def _submit(console: Console) -> None:
    question = str(st.session_state[QUESTION] or "").strip()
    if question:
        _ask(console, question)


def _ask(console: Console, question: str) -> None:
    conversation = console.conversation
    if conversation.live:
        # Nothing typed is lost: it goes back into the box until the answer is done.
        st.session_state[QUESTION] = question
        st.toast("Still answering. Wait for the end or press Stop.", icon=":material/hourglass:")
        return
    backend = console.backend
    console.shelf.keep(conversation)
    ask(backend.loop, backend.api, conversation, question, console.pin)


def _show_welcome(console: Console) -> None:
    st.space("large")
    st.title("What can we help with?", text_alignment="center", anchor=False)
    st.markdown(
        ":gray[Each message goes to the expert that is best for it. You see who answered, and why.]",
        text_alignment="center",
    )
    st.space("small")
    with st.container(horizontal=True, horizontal_alignment="center"):
        for label, question in EXAMPLES.items():
            st.button(label, key=f"example-{label}", on_click=_ask, args=(console, question), help=question)


def _show_title(console: Console, conversation: Conversation) -> None:
    with st.container(
        horizontal=True, wrap=False, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.markdown(f"**{plain(conversation.title)}**")
        with st.popover("", icon=":material/more_horiz:", type="tertiary", key="conversation-menu"):
            name = st.text_input("Name", value=conversation.title, key=f"name-{conversation.id}")
            if name.strip() and name.strip() != conversation.title:
                conversation.name = name.strip()
                st.rerun()
            st.download_button(
                "Download as Markdown",
                conversation.as_markdown,
                file_name="conversation.md",
                mime="text/markdown",
                icon=":material/download:",
                width="stretch",
                on_click="ignore",
            )
            st.button(
                "Delete",
                icon=":material/delete:",
                width="stretch",
                key="delete",
                on_click=_delete,
                args=(console, conversation),
            )


def _delete(console: Console, conversation: Conversation) -> None:
    console.shelf.delete(conversation)
    console.open(Conversation())


def _show_live(console: Console, titles: Mapping[str, str], turn: ChatTurn) -> None:
    """Redraw the growing answer until it has ended, then run the page once more."""

    @st.fragment(run_every=console.settings.console_refresh_s)
    def live() -> None:
        answer = turn.answer
        if not answer.live:
            st.rerun()
        if answer.decision is not None:
            st.markdown(headline(answer.decision, titles))
        if answer.thinking and not answer.text:
            st.markdown(":shimmer[Thinking]")
        elif answer.text:
            st.markdown(readable_answer(answer.text))
        else:
            st.markdown(":shimmer[Choosing the expert]" if answer.decision is None else ":shimmer[Waiting]")
        st.button("Stop", icon=":material/stop_circle:", key=f"stop-{answer.id}", on_click=answer.stop)

    live()
    with st.container(key=f"scroll-{turn.answer.id}"):
        st.html(SCROLL, unsafe_allow_javascript=True)


def _show_ended(console: Console, titles: Mapping[str, str], turn: ChatTurn, *, is_last: bool) -> None:
    answer = turn.answer
    if answer.decision is not None:
        st.markdown(headline(answer.decision, titles, facts_of(answer)))
    if answer.thinking:
        with st.expander("Thinking", type="compact"):
            st.text(answer.thinking)
    if answer.text:
        st.markdown(readable_answer(answer.text))
    _show_end(answer)
    if answer.decision is not None:
        with st.expander("Why this expert", type="compact", key=f"why-{answer.id}"):
            show_decision(answer.decision, titles)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if answer.decision is not None and answer.text:
            _show_rating(console, answer)
        if is_last:
            _show_again(console, turn)
    _show_words(answer)


def facts_of(answer: LiveAnswer) -> tuple[str, ...]:
    """How long it took, how much was said and what it cost, as far as is known."""
    facts = []
    if answer.total_s is not None:
        facts.append(f"{answer.total_s:.1f} s")
    if answer.completion_tokens:
        facts.append(f"{answer.completion_tokens} tokens")
    if answer.decision is not None and (cost := cost_of(answer.decision)).spent is not None:
        facts.append(plain(amount(cost.spent, cost.unit)))
    return tuple(facts)


def _show_end(answer: LiveAnswer) -> None:
    if answer.error is not None:
        note = "What had come is kept above." if answer.text else "Your message is kept."
        show_problem(answer.error, note=note)
    elif answer.state is AnswerState.STOPPED:
        st.caption(":material/stop_circle: You stopped this answer.")
    elif answer.finish_reason == "length":
        st.caption(":material/content_cut: The expert reached its length limit.")
    elif answer.finish_reason == "content_filter":
        st.caption(":material/block: The expert's content filter ended this answer.")
    elif not answer.text:
        st.caption("The expert said nothing.")


def _show_rating(console: Console, answer: LiveAnswer) -> None:
    key = f"thumb-{answer.id}"
    given = None if answer.rating is None else int(answer.rating.thumb > 0)
    st.feedback("thumbs", key=key, default=given, on_change=_rate, args=(console, answer, key))
    if answer.rating is None:
        return
    with (
        st.popover("Comment", icon=":material/add_comment:", type="tertiary", key=f"talk-{answer.id}"),
        st.form(f"comment-{answer.id}", border=False),
    ):
        words = st.text_area(
            "What should be better or stay?", value=answer.rating.comment, max_chars=10_000, height=90
        )
        if st.form_submit_button("Send", type="primary"):
            rate(console.backend.loop, console.backend.api, answer, answer.rating.thumb, words.strip())
            st.rerun()


def _rate(console: Console, answer: LiveAnswer, key: str) -> None:
    chosen = st.session_state[key]
    words = answer.rating.comment if answer.rating is not None else ""
    thumb = None if chosen is None else (1 if chosen else -1)
    rate(console.backend.loop, console.backend.api, answer, thumb, words)
    if answer.rating_error is None and thumb is not None:
        st.toast("Thank you. Your rating is recorded.", icon=":material/check:")


def _show_words(answer: LiveAnswer) -> None:
    if answer.rating_error is not None:
        show_problem(answer.rating_error, note="Your rating is not recorded; rate again to send it.")
    elif answer.rating is not None and answer.rating.comment:
        st.caption(f":material/comment: You said: {plain(answer.rating.comment)}")


def _show_again(console: Console, turn: ChatTurn) -> None:
    def again() -> None:
        ask_again(console.backend.loop, console.backend.api, console.conversation, console.pin)

    def edit() -> None:
        console.conversation.turns.remove(turn)
        if not console.conversation.turns:
            console.shelf.delete(console.conversation)
        st.session_state[QUESTION] = turn.question

    st.button(
        "Try again", icon=":material/refresh:", type="tertiary", key=f"again-{turn.answer.id}", on_click=again
    )
    if turn.answer.state is AnswerState.FAILED and not turn.answer.text:
        st.button(
            "Edit message",
            icon=":material/edit:",
            type="tertiary",
            key=f"edit-{turn.answer.id}",
            on_click=edit,
        )
