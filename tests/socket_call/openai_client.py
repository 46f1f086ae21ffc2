"""The `openai` client, which needs asyncio, as a program: a conversation over the URL that it is given.

What it saw goes out as one line of JSON.
"""

import asyncio
import base64
import json
import sys
from typing import Any

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather somewhere.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}


async def wait(connection: AsyncRealtimeConnection, kind: str, seen: list[str]) -> Any:
    """Read on up to an event of a kind; each has become a class of the library's by then."""
    async for event in connection:
        seen.append(event.type)
        if event.type == "error":
            raise RuntimeError(event.to_json())
        if event.type == kind:
            return event
    raise RuntimeError(f"no {kind}, only {seen}")


async def talk(url: str, speech: bytes) -> dict[str, Any]:
    client = AsyncOpenAI(api_key="sk-anything", base_url=url.replace("ws", "http", 1), websocket_base_url=url)
    seen: list[str] = []
    told: dict[str, Any] = {"seen": seen}
    async with client.realtime.connect(model="gpt-realtime") as connection:
        created = await wait(connection, "session.created", seen)
        told["model"] = created.session.model
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Be brief.",
                "tools": [TOOL],
                "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}},
            }
        )
        updated = await wait(connection, "session.updated", seen)
        told["instructions"] = updated.session.instructions
        told["tools"] = [tool.name for tool in updated.session.tools]

        # Say something; the turn is found to be over, and answered.
        for start in range(0, len(speech), 9600):
            piece = base64.b64encode(speech[start : start + 9600]).decode()
            await connection.input_audio_buffer.append(audio=piece)
        started = await wait(connection, "input_audio_buffer.speech_started", seen)
        told["audio_start_ms"] = started.audio_start_ms
        heard, words = b"", ""
        async for event in connection:
            seen.append(event.type)
            if event.type == "response.output_audio.delta":
                heard += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.delta":
                words += event.delta
            elif event.type == "response.done":
                told["status"] = event.response.status
                item: Any = next(iter(event.response.output or ()))
                break
        told |= {"heard": len(heard), "words": words, "transcript": item.content[0].transcript}

        # Interrupt it: the client has heard half a second.
        await connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=500)
        truncated = await wait(connection, "conversation.item.truncated", seen)
        told["audio_end_ms"] = truncated.audio_end_ms

        # Ask in writing; a function is called and answered.
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "How is the weather in Oslo?"}],
            }
        )
        await wait(connection, "conversation.item.done", seen)
        await connection.response.create(response={"output_modalities": ["text"]})
        called = await wait(connection, "response.function_call_arguments.done", seen)
        await wait(connection, "response.done", seen)
        told["arguments"] = json.loads(called.arguments)
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": called.call_id, "output": '{"sky":"grey"}'}
        )
        await connection.response.create()
        done = await wait(connection, "response.output_text.done", seen)
        told["answer"] = done.text
        await wait(connection, "response.done", seen)

        # Stop an answer in the middle.
        await connection.response.create(response={"instructions": "long"})
        await wait(connection, "response.output_audio.delta", seen)
        await connection.response.cancel()
        cancelled = await wait(connection, "response.done", seen)
        told["cancelled"] = [cancelled.response.status, cancelled.response.status_details.reason]
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(talk(sys.argv[1], sys.stdin.buffer.read()))) + "\n")
