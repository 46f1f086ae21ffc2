// An agent for Node: says back what you said, and stops when you talk over it.
//
//     npm install && node parrot.mjs 8765 &
//     voicegate serve --agent ws://127.0.0.1:8765/
//
// docs/link.md describes the protocol.
import { WebSocketServer } from "ws";

const HEADER_BYTES = 24;
const PCM16_24000 = 3;
const PRE_ROLL_BYTES = (24000 * 2 * 300) / 1000;
const key = process.env.VOICEGATE_LINK_KEY;

class Call {
  heard = [];
  bytes = 0;
  isTalking = false;

  hear(pcm) {
    this.heard.push(pcm);
    this.bytes += pcm.length;
    // Keep a little: speech is noticed when it has begun.
    while (!this.isTalking && this.bytes - this.heard[0].length >= PRE_ROLL_BYTES) {
      this.bytes -= this.heard.shift().length;
    }
  }
}

function frame(call, pcm) {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(call, 0);
  header.writeUInt32BE(pcm.length, 4);
  header.writeUInt8(PCM16_24000, 8);
  header.writeBigInt64BE(-1n, 16);
  return Buffer.concat([header, pcm]);
}

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2] ?? 8765),
  perMessageDeflate: false,
  verifyClient: ({ req }) => key === undefined || req.headers.authorization === `Bearer ${key}`,
});

server.on("connection", (socket) => {
  const calls = new Map();
  const send = (event) => socket.send(JSON.stringify(event));
  const handlers = {
    hello: () => send({ type: "hello", version: 1, formats: ["pcm16/24000"] }),
    "call.started": ({ call }) => {
      calls.set(call, new Call());
      send({ type: "detect_speech", call });
    },
    "speech.started": ({ call }) => (calls.get(call).isTalking = true),
    "turn.ended": ({ call }) => {
      socket.send(frame(call, Buffer.concat(calls.get(call).heard)));
      calls.set(call, new Call());
    },
    interrupted: (event) => console.log(`call ${event.call}: you heard ${event.heard_ms} ms of it`),
    "call.ended": ({ call }) => calls.delete(call),
    error: (event) => console.log(event.message),
  };
  socket.on("message", (data, isBinary) => {
    if (!isBinary) {
      const event = JSON.parse(data);
      return handlers[event.type]?.(event);
    }
    for (let start = 0; start < data.length; ) {
      const end = start + HEADER_BYTES + data.readUInt32BE(start + 4);
      if (data[start + 8] === PCM16_24000) {
        calls.get(data.readUInt32BE(start))?.hear(data.subarray(start + HEADER_BYTES, end));
      }
      start = end;
    }
  });
});

server.on("listening", () => console.log(`ws://127.0.0.1:${server.address().port}/`));
