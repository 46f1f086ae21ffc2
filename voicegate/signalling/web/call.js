// One call: from the microphone to the hang-up, with the time of each step on the way.

const CALLS = "/v1/realtime/calls";
const CHANNEL_LABEL = "voicegate"; // the agent's own; "oai-events" would speak the API
// What stands behind "#" in the page's address never leaves the browser: "#key=..." for a server that wants one.
const KEY = new URLSearchParams(location.hash.slice(1)).get("key");
const AUTHORIZATION = KEY ? { Authorization: `Bearer ${KEY}` } : {};
// "?region=..." of the page's address: where its calls are to go.
const REGION = new URLSearchParams(location.search).get("region");
const QUERY = REGION ? `?region=${encodeURIComponent(REGION)}` : "";
const POLL_CONNECTING_MS = 300;
const POLL_TALKING_MS = 1000;

const MICROPHONE_FAULTS = {
  NotAllowedError: ["The microphone is blocked", "Allow it for this page in the browser's address bar, then try again."],
  NotFoundError: ["No microphone found", "Connect one, or choose it in the system settings, then try again."],
  NotReadableError: ["The microphone is busy", "Another program seems to hold it. Close that one, then try again."],
};

export class CallFault extends Error {
  constructor(title, detail) {
    super(detail);
    this.title = title;
  }
}

// Fires "change" whenever something that a page shows has changed, "message" for each one of the data channel.
export class Call extends EventTarget {
  state = "asking"; // then "connecting", "talking", "ended"
  id = null;
  cause = null; // why it ended, in the server's word; "hung_up" when the person did
  fault = null; // a CallFault when it ended badly
  phases = {}; // milliseconds since the button was pressed
  session = null; // what the server last said of the call
  connection = null;
  channel = null; // an RTCDataChannel
  localStream = null;
  remoteStream = null;
  connectedAt = null;

  #pressedAt = performance.now();

  get isOver() {
    return this.state === "ended";
  }

  get isMuted() {
    return this.localStream !== null && !this.localStream.getAudioTracks()[0].enabled;
  }

  get age() {
    return performance.now() - this.#pressedAt;
  }

  mark(phase) {
    if (phase in this.phases) return;
    this.phases[phase] = this.age;
    this.#changed();
  }

  async run() {
    try {
      await this.#openMicrophone();
      if (this.isOver) return this.#release();
      this.#enter("connecting");
      const offer = await this.#makeOffer();
      const answer = await this.#exchange(offer);
      if (this.isOver) return this.#tellServer();
      await this.connection.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      if (!this.isOver) this.#end("failed", error instanceof CallFault ? error : new CallFault("The call failed", error.message));
      return;
    }
    await this.#watch();
  }

  mute(isMuted) {
    for (const track of this.localStream.getAudioTracks()) track.enabled = !isMuted;
    this.#changed();
  }

  hangUp() {
    if (this.isOver) return;
    this.#tellServer().then(() => this.#refresh());
    this.#end("hung_up");
  }

  // The page goes away: only a beacon is sure to leave it.
  abandon() {
    if (this.isOver) return;
    if (this.id) navigator.sendBeacon(`${CALLS}/${this.id}/hangup`);
    this.#end("hung_up");
  }

  async #openMicrophone() {
    if (!navigator.mediaDevices) {
      throw new CallFault("This page may not use the microphone",
        `Browsers allow it only over https or on localhost, and this is ${location.origin}.`);
    }
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    try {
      this.localStream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new CallFault(...(MICROPHONE_FAULTS[error.name] ?? ["The microphone does not work", error.message]));
    }
    this.mark("microphone");
  }

  async #makeOffer() {
    const connection = this.connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    connection.addEventListener("track", ({ track, streams }) => {
      this.remoteStream = streams[0] ?? new MediaStream([track]);
      // A remote track is muted until its first packet.
      track.addEventListener("unmute", () => this.mark("packet"));
      this.#changed();
    });
    connection.addEventListener("iceconnectionstatechange", () => {
      if (["connected", "completed"].includes(connection.iceConnectionState)) this.mark("ice");
    });
    connection.addEventListener("connectionstatechange", () => this.#followConnection());
    const [track] = this.localStream.getAudioTracks();
    const sender = connection.addTrack(track, this.localStream);
    this.#openChannel();
    await connection.setLocalDescription();
    sender.transport?.addEventListener("statechange", () => {
      if (sender.transport.state === "closed") this.#endByServer();
    });
    this.mark("offer");
    // No wait for candidates: the server learns where we are from our first packet.
    return connection.localDescription.sdp;
  }

  #openChannel() {
    const channel = this.channel = this.connection.createDataChannel(CHANNEL_LABEL);
    channel.binaryType = "arraybuffer";
    channel.addEventListener("open", () => this.mark("channel"));
    channel.addEventListener("message", ({ data }) => this.dispatchEvent(new MessageEvent("message", { data })));
  }

  async #exchange(offer) {
    let response;
    try {
      response = await fetch(CALLS + QUERY, {
        method: "POST",
        headers: { "Content-Type": "application/sdp", ...AUTHORIZATION },
        body: offer,
      });
    } catch {
      throw new CallFault("The server does not answer", "It may have been stopped. Check it, then try again.");
    }
    const text = await response.text();
    if (!response.ok) throw new CallFault("The server refused the call", errorMessage(text) ?? `HTTP status ${response.status}.`);
    this.id = response.headers.get("Location").split("/").at(-1);
    this.mark("answer");
    return text;
  }

  #followConnection() {
    if (this.connection.connectionState === "connected") {
      this.mark("ice");
      this.mark("dtls");
      this.connectedAt ??= performance.now();
      if (!this.isOver) this.#enter("talking");
      this.#refresh();
    } else if (this.connection.connectionState === "failed") {
      this.#endByServer();
    }
  }

  // The server's own phases while the call is set up, and the word that it is over.
  async #watch() {
    while (!this.isOver) {
      await this.#refresh();
      if (this.session?.state === "ended") await this.#endByServer();
      const pause = this.state === "talking" ? POLL_TALKING_MS : POLL_CONNECTING_MS;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async #refresh() {
    if (!this.id) return;
    try {
      const response = await fetch(`/v1/sessions/${this.id}`, { headers: AUTHORIZATION });
      if (response.ok) this.session = await response.json();
    } catch {
      return; // the call does not depend on it
    }
    this.#changed();
  }

  async #endByServer() {
    if (this.isOver) return;
    await this.#refresh();
    if (this.isOver) return;
    const cause = this.session?.cause ?? "connection_lost";
    const wasConnected = this.connectedAt !== null;
    const detail = `The reason: ${cause.replaceAll("_", " ")}.`;
    if (this.session?.state !== "ended") this.#tellServer();
    this.#end(cause, wasConnected ? null : new CallFault("The connection could not be made", detail));
  }

  async #tellServer() {
    if (!this.id) return;
    await fetch(`${CALLS}/${this.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  }

  #end(cause, fault = null) {
    this.cause = cause;
    this.fault = fault;
    this.#release();
    this.#enter("ended");
  }

  #release() {
    this.connection?.close();
    for (const track of this.localStream?.getTracks() ?? []) track.stop();
  }

  #enter(state) {
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function errorMessage(text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return null;
  }
}
