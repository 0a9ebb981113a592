"""Messages <-> token ids: the only place that knows a chat template.

Token in, token out: an assistant message that was sampled in this conversation goes into the next
prompt as the very ids that were sampled, never as its text encoded again. Text that came from
outside is text: only what the template itself writes becomes a control token.
"""

from hornbeam.chat.answer_places import Answers, common
from hornbeam.chat.byte_chat import (
    ByteChat,
    Chat,
    Message,
    Said,
    assistant,
    check_chat,
    end_of_answer,
    system,
    user,
)
from hornbeam.chat.history import history, message_of
from hornbeam.chat.template import TemplateChat
from hornbeam.chat.text_pieces import PieceChat
from hornbeam.chat.tool_calls import Spoken, ToolCall, has_calls, result_of

__all__ = [
    "Answers",
    "ByteChat",
    "Chat",
    "Message",
    "PieceChat",
    "Said",
    "Spoken",
    "TemplateChat",
    "ToolCall",
    "assistant",
    "check_chat",
    "common",
    "end_of_answer",
    "has_calls",
    "history",
    "message_of",
    "result_of",
    "system",
    "user",
]
