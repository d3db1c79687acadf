import json
import pathlib
import unittest

import chat

GOLDEN = pathlib.Path(__file__).parents[2] / "text" / "tests" / "chat" / "golden.json"


def from_golden(message):
    out = dict(role=message["role"], content=message.get("content", ""), reasoning=message.get("reasoning_content", ""))
    out["tools"] = [tool["function"] for tool in message.get("tools", [])]
    calls = [call["function"] for call in message.get("tool_calls", [])]
    out["calls"] = [(call["name"], json.loads(call["arguments"])) for call in calls]
    return out


class Render(unittest.TestCase):
    def test_deepseek_main_case(self):
        golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
        messages = [from_golden(message) for message in golden["messages"]]
        segments = chat.render(messages, golden["mode"] == "thinking")
        self.assertEqual(chat.plain(segments), golden["expected"])

    def test_weights(self):
        messages = [dict(role="user", content="Hi"), dict(role="assistant", content="Hello.", reasoning="Greet.")]
        self.assertEqual(
            chat.render(messages, True),
            [("<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>", chat.GIVEN), ("Greet.</think>Hello.<｜end▁of▁sentence｜>", 1)],
        )
        self.assertEqual(
            chat.plain(chat.render(messages, False)),
            "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜></think>Hello.<｜end▁of▁sentence｜>",
        )

    def test_missing_result(self):
        with self.assertRaises(ValueError):
            chat.render([dict(role="user", content="x"), dict(role="assistant", calls=[("f", {})], reasoning="")], True)


if __name__ == "__main__":
    unittest.main()
