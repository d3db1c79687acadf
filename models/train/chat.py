"""DeepSeek-V3.2's prompt format, as segments of text with a weight for the loss.

What the model is to write itself (reasoning, answers, calls, end marks) weighs 1, what is given to it next to nothing. Every
boundary between weights lies beside a control token, so segments can be tokenised one by one.
"""

import json

# Enough that the model has an opinion inside prompts as well: where it has none, the best token is a matter of rounding.
GIVEN = 0.005

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT, THINK, END_THINK = "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"
D = "｜DSML｜"

# Word for word as DeepSeek published it in V3.2's encoding tests (MIT, Copyright (c) DeepSeek).
PREAMBLE = f"""## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<{D}function_calls>" block like the following as part of your reply to the user:
<{D}function_calls>
<{D}invoke name="$FUNCTION_NAME">
<{D}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{D}parameter>
...
</{D}invoke>
<{D}invoke name="$FUNCTION_NAME2">
...
</{D}invoke>
</{D}function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<{D}function_calls>
...
</{D}function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
"""


def tools_text(tools):
    """Announces functions given as their inner schema objects."""
    return PREAMBLE + "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in tools) + "</functions>\n"


def call_text(name, arguments):
    parameters = []
    for key, value in arguments.items():
        is_string = isinstance(value, str)
        shown = value if is_string else json.dumps(value, ensure_ascii=False)
        parameters.append(f'<{D}parameter name="{key}" string="{str(is_string).lower()}">{shown}</{D}parameter>')
    return f'<{D}invoke name="{name}">\n' + "\n".join(parameters) + f"\n</{D}invoke>"


def calls_text(calls):
    invokes = "\n".join(call_text(name, arguments) for name, arguments in calls)
    return f"\n\n<{D}function_calls>\n{invokes}\n</{D}function_calls>"


def render(messages, thinking):
    """Messages to [(text, weight)].

    A message is a dict: role "system" (content, tools), "user" (content), "assistant" (content, reasoning, calls as
    [(name, arguments)]), "tool" (content). In thinking mode, reasoning before the last user message is dropped, as the
    format does.
    """
    last = max(i for i, m in enumerate(messages) if m["role"] == "user")
    out, open_results = [(BOS, GIVEN)], 0
    for i, m in enumerate(messages):
        opening = THINK if thinking and i >= last else END_THINK
        if m["role"] == "system":
            tools = "\n\n" + tools_text(m["tools"]) if m.get("tools") else ""
            out.append((m.get("content", "") + tools, GIVEN))
        elif m["role"] == "user":
            out.append((USER + m["content"] + ASSISTANT + opening, GIVEN))
        elif m["role"] == "assistant":
            text = m["reasoning"] + END_THINK if thinking and i > last else ""
            calls = m.get("calls", [])
            text += m.get("content", "") + (calls_text(calls) if calls else "")
            out.append((text + EOS, 1))
            open_results = len(calls)
        else:
            previous = messages[i - 1]["role"]
            text = "" if previous == "tool" else "\n\n<function_results>"
            text += f"\n<result>{m['content']}</result>"
            open_results -= 1
            if open_results == 0:
                text += "\n</function_results>\n\n" + opening
            out.append((text, GIVEN))
    if open_results:
        raise ValueError("a call has no result")
    return merged(out)


def merged(segments):
    """Joins neighbours of equal weight."""
    out = []
    for text, weight in segments:
        if out and out[-1][1] == weight:
            out[-1] = (out[-1][0] + text, weight)
        else:
            out.append((text, weight))
    return out


def plain(segments):
    return "".join(text for text, _ in segments)
