from datatrial.prompts import answer_text, conversation_text, prompt_text
from datatrial.records import Message

ASK: Message = {"role": "user", "content": " What is a vesp? \n"}
REPLY: Message = {"role": "assistant", "content": "A bird."}
RULES: Message = {"role": "system", "content": "Be brief."}


def test_the_papers_format_asks_and_answers() -> None:
    assert prompt_text([ASK], "question_answer") == "Question: What is a vesp?\n\nAnswer:"


def test_the_transcript_is_that_of_hh_rlhf() -> None:
    assert prompt_text([ASK, REPLY, ASK], "transcript") == (
        "\n\nHuman: What is a vesp?\n\nAssistant: A bird.\n\nHuman: What is a vesp?\n\nAssistant:"
    )


def test_a_system_message_comes_first_and_unmarked() -> None:
    assert prompt_text([RULES, ASK], "question_answer").startswith("Be brief.\n\nQuestion: ")
    assert prompt_text([RULES, ASK], "transcript").startswith("Be brief.\n\nHuman: ")


def test_prompt_and_answer_make_the_conversation_whichever_turn_is_the_last() -> None:
    for style in ("question_answer", "transcript"):
        earlier = [ASK, REPLY, ASK]
        whole = prompt_text(earlier, style) + answer_text(" Blue. ")  # type: ignore[arg-type]
        assert whole == conversation_text([*earlier, {"role": "assistant", "content": "Blue."}], style)  # type: ignore[arg-type]
        assert not prompt_text(earlier, style).endswith(" ")  # type: ignore[arg-type]
