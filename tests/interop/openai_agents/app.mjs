// An app as its authors write it with the SDK, in one page: an agent with a tool, and what a test wants to see of it.
import { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const called = [];
const events = [];
const errors = [];
let session;

const agent = new RealtimeAgent({
  name: "clerk",
  instructions: "You tell people what time it is.",
  tools: [
    tool({
      name: "get_time",
      description: "Tells the time.",
      parameters: z.object({ zone: z.string() }),
      execute: async ({ zone }) => {
        called.push(zone);
        return `It is noon in ${zone}.`;
      },
    }),
  ],
});

// The URL is all that an app changes.
async function connect(url, apiKey) {
  const transport = new OpenAIRealtimeWebRTC({ audioElement: document.createElement("audio") });
  session = new RealtimeSession(agent, { transport });
  session.on("error", (error) => errors.push(error));
  transport.on("*", (event) => events.push(event));
  await session.connect({ apiKey, url });
  return { callId: transport.callId };
}

const types = () => events.map((event) => event.type);
const find = (type) => events.filter((event) => event.type === type);

window.app = {
  called,
  connect,
  errors,
  events,
  find,
  types,
  get history() { return session.history; },
  close: () => session.close(),
  interrupt: () => session.interrupt(),
  say: (text) => session.sendMessage(text),
};
