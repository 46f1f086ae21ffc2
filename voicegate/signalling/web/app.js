// The page: one button, what the call is doing, and the figures.
//
// For tests, `window.voicegate` holds: state, cause, callId, phases, session, connection (RTCPeerConnection),
// channel (RTCDataChannel), localStream, remoteStream, and the functions start() and hangUp().

import { Call } from "./call.js";
import { Messages } from "./messages.js";
import { Meter } from "./meter.js";
import { Timeline } from "./timeline.js";

const element = (id) => document.getElementById(id);
const agent = document.querySelector('meta[name="voicegate-agent"]').content;
const timeline = new Timeline();
const messages = new Messages();

const HINTS = {
  parrot: "Speak, then stop, and the parrot says it back. Talk over it and it falls silent.",
  echo: "You hear yourself at once. Headphones help.",
};

const LABELS = { asking: "One moment", connecting: "One moment", talking: "Listening" };
const SOUND_CHECK_MS = 10;

let call = null;
let meters = null;

function start() {
  if (call && !call.isOver) return;
  timeline.clear();
  messages.clear();
  const context = new AudioContext(); // here, where the browser knows that a person pressed something
  call = new Call();
  const mine = call;
  mine.addEventListener("change", () => mine === call && show(context));
  mine.addEventListener("message", ({ data }) => mine === call && messages.show(data, mine.age));
  mine.run().finally(() => { if (mine.isOver) context.close().catch(() => {}); });
  show(context);
  moveFocus("talk", "hang-up");
}

function show(context) {
  document.body.dataset.state = call.state;
  element("title").textContent = call.state === "talking" ? "Go on, speak" : "Say something";
  say(element("status"), statusText());
  element("talk").disabled = !call.isOver;
  element("talk-label").textContent = LABELS[call.state] ?? (call.fault ? "Try again" : "Talk again");
  element("mute").setAttribute("aria-pressed", String(call.isMuted));
  element("mute").textContent = call.isMuted ? "Muted" : "Mute";
  element("fault").hidden = call.fault === null;
  say(element("fault-title"), call.fault?.title ?? "");
  say(element("fault-detail"), call.fault?.message ?? "");
  timeline.show(call.phases, call.session?.phases);
  if (call.isOver) {
    meters = null;
    element("voice").srcObject = null;
    moveFocus("hang-up", "talk");
  } else if (call.remoteStream && element("voice").srcObject !== call.remoteStream) {
    listen(context);
  }
}

// Who uses the keyboard stays on a button that works.
function moveFocus(from, to) {
  if ([element(from), document.body].includes(document.activeElement)) element(to).focus({ preventScroll: true });
}

// A live region speaks whenever it is written to, so it is written to only for news.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function statusText() {
  switch (call.state) {
    case "asking": return "Asking for the microphone";
    case "connecting": return "Connecting";
    case "talking": return call.isMuted ? "Talking, you are muted" : "Talking";
    default: return call.fault ? "Not connected" : `Ended: ${call.cause === "hung_up" ? "you hung up" : call.cause.replaceAll("_", " ")}`;
  }
}

function listen(context) {
  const voice = element("voice");
  voice.srcObject = call.remoteStream;
  voice.play().catch(() => {}); // refused only when the call is already over
  context.resume().catch(() => {}); // a browser may have held it until the microphone was granted
  const [receiver] = call.connection.getReceivers();
  const out = new Meter(context, call.remoteStream, receiver);
  meters = { in: new Meter(context, call.localStream), out };
  const mine = call;
  const check = setInterval(() => {
    if (out.hasSound) mine.mark("sound");
    if (mine.isOver || "sound" in mine.phases) clearInterval(check);
  }, SOUND_CHECK_MS);
  requestAnimationFrame(drawLevels);
}

function drawLevels() {
  const { style } = document.documentElement;
  style.setProperty("--in", (meters?.in.level ?? 0).toFixed(3));
  style.setProperty("--out", (meters?.out.level ?? 0).toFixed(3));
  element("clock").textContent = clockText();
  if (meters) requestAnimationFrame(drawLevels);
}

function clockText() {
  if (call.connectedAt === null || call.isOver) return "";
  const seconds = Math.floor((performance.now() - call.connectedAt) / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

element("hint").textContent = HINTS[agent] ?? "Press the button and speak. You can interrupt at any time.";
element("talk").addEventListener("click", start);
element("mute").addEventListener("click", () => call.mute(!call.isMuted));
element("hang-up").addEventListener("click", () => call.hangUp());
addEventListener("pagehide", () => call?.abandon());

window.voicegate = {
  get state() { return call?.state ?? "idle"; },
  get cause() { return call?.cause ?? null; },
  get callId() { return call?.id ?? null; },
  get phases() { return { ...call?.phases }; },
  get session() { return call?.session ?? null; },
  get connection() { return call?.connection ?? null; },
  get channel() { return call?.channel ?? null; },
  get localStream() { return call?.localStream ?? null; },
  get remoteStream() { return call?.remoteStream ?? null; },
  start,
  hangUp: () => call?.hangUp(),
};
