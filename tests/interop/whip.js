// A WHIP client for a page: fetch, an RTCPeerConnection, and nothing else. An expression, as `evaluate` wants it.
(globalThis.whip = new (class {
  url = "/v1/whip";
  log = [];

  async start({ direction = "sendonly" } = {}) {
    const connection = (this.connection = new RTCPeerConnection());
    this.candidates = [];
    connection.onicecandidate = ({ candidate }) => this.candidates.push(candidate);
    connection.ontrack = ({ track }) => (this.remoteStream = new MediaStream([track]));
    this.microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [track] = this.microphone.getTracks();
    this.sender = connection.addTransceiver(track, { direction }).sender;
    await connection.setLocalDescription();
    const response = await fetch(this.url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: connection.localDescription.sdp,
    });
    this.log.push(response.status);
    this.call = new URL(response.headers.get("Location"), response.url).href;
    this.tag = response.headers.get("ETag");
    this.answer = await response.text();
    await connection.setRemoteDescription({ type: "answer", sdp: this.answer });
    while (connection.connectionState !== "connected") await new Promise((done) => setTimeout(done, 10));
    await this.trickle();
  }

  fragment() {
    const sdp = this.connection.localDescription.sdp;
    const line = (name) => sdp.match(new RegExp(`^a=${name}:.*$`, "m"))[0].trim();
    const said = this.candidates.filter((each) => each && each.candidate);
    return [
      line("ice-ufrag"),
      line("ice-pwd"),
      sdp.match(/^m=.*$/m)[0].trim(),
      line("mid"),
      ...said.map((each) => `a=${each.candidate}`),
      "a=end-of-candidates",
      "",
    ].join("\r\n");
  }

  async patch(tag) {
    const response = await fetch(this.call, {
      method: "PATCH",
      headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": tag },
      body: this.fragment(),
    });
    this.log.push(response.status);
    return response;
  }

  async trickle() {
    await this.patch(this.tag);
  }

  async restart() {
    this.connection.restartIce();
    this.candidates = [];
    await this.connection.setLocalDescription(await this.connection.createOffer({ iceRestart: true }));
    const response = await this.patch("*");
    const old = this.tag;
    this.tag = response.headers.get("ETag");
    const fragment = await response.text();
    for (const name of ["ice-ufrag", "ice-pwd"]) {
      const value = fragment.match(new RegExp(`^a=${name}:.*$`, "m"))[0].trim();
      this.answer = this.answer.replace(new RegExp(`^a=${name}:.*$`, "mg"), value);
    }
    await this.connection.setRemoteDescription({ type: "answer", sdp: this.answer });
    await this.patch(old);
    await this.patch(this.tag);
  }

  async stop() {
    const response = await fetch(this.call, { method: "DELETE" });
    this.log.push(response.status);
    this.connection.close();
  }
})())
