"""Answer what is asked all the time, and give the call to somebody else when it is anything else.

    voicegate serve --agent examples.faq:agent

Any client of the OpenAI Realtime API can call it, and type. Where a synthesiser would speak, each word is a
beep. Questions without an answer are put through to the agent that the operator calls "parrot".
"""

import math
from array import array

import voicegate

GREETING = "Hello, ask me about our hours or our address"
APOLOGY = "One moment please"
ANSWERS = {
    "hours": "We are open from nine to five",
    "address": "You find us at the harbour",
}


async def agent(call: voicegate.Call) -> None:
    """Greet, answer, and put through."""
    call.converse()
    await say(call, GREETING)
    question = ""
    async for event in call.events:
        match event:
            case voicegate.ItemAdded(item={"content": [{"type": "input_text", "text": str(text)}, *_]}):
                question = text.lower()
            case voicegate.ResponseRequested(response_id=response_id):
                known = next((answer for word, answer in ANSWERS.items() if word in question), None)
                # What was spoken it cannot understand, so it says what it can do.
                await say(call, known or (APOLOGY if question else GREETING), response_id)
                if question and known is None:
                    call.transfer("parrot")
                question = ""
            case _:
                pass


async def say(call: voicegate.Call, text: str, response_id: str | None = None) -> None:
    """Say a text, until its end or until the user talks over it."""
    beeps = beep(call.sample_rate) * len(text.split())
    said = await call.say(beeps, transcript=text, response_id=response_id)
    if said.is_interrupted:
        print(f"interrupted after {said.heard_ms} ms")


def beep(sample_rate: int) -> bytes:
    """Make a tenth of a second of 440 Hz, and as much silence."""
    turn = 2 * math.pi * 440 / sample_rate
    length = sample_rate // 10
    return array("h", (int(8000 * math.sin(turn * n)) for n in range(length))).tobytes() + bytes(2 * length)
