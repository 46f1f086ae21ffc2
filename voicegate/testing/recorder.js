// Loaded into every page before its own scripts. Remembers the page's peer connections, and records what a stream plays.
window.recorder = (() => {
  const peerConnections = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class RTCPeerConnection extends Native {
    constructor(...given) {
      super(...given);
      peerConnections.push(this);
    }
  };

  // The sound of the newest peer that sends any.
  function remoteStream() {
    const tracks = peerConnections.flatMap((peer) => peer.getReceivers().map((receiver) => receiver.track));
    const heard = tracks.filter((track) => track.kind === "audio" && track.readyState === "live");
    if (!heard.length) throw new Error("no peer connection receives sound");
    return new MediaStream([heard.at(-1)]);
  }

  // The latency hint stays as it is: a longer one loses more of a live stream when the machine is busy.
  // A ScriptProcessorNode, though an AudioWorklet would be newer: it needs neither a secure origin nor a script that the
  // page's content security policy would have to allow. Its block is long, so that a busy page loses none.
  async function record(stream, seconds) {
    const context = new AudioContext({ sampleRate: 48000 });
    const element = new Audio(); // Chromium hands a remote stream to WebAudio only while an element plays it.
    element.muted = true;
    element.srcObject = stream;
    element.play().catch(() => {});
    const processor = context.createScriptProcessor(8192, 1, 1);
    const recorded = new Float32Array(Math.round(seconds * context.sampleRate));
    await new Promise((done) => {
      let length = 0;
      processor.onaudioprocess = ({ inputBuffer }) => {
        const block = inputBuffer.getChannelData(0).subarray(0, recorded.length - length);
        recorded.set(block, length);
        length += block.length;
        if (length === recorded.length) done();
      };
      context.createMediaStreamSource(stream).connect(processor).connect(context.destination);
    });
    const rate = context.sampleRate;
    element.srcObject = null;
    await context.close();
    return { rate, samples: base64(new Uint8Array(recorded.buffer)) };
  }

  function base64(bytes) {
    let text = "";
    for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
    return btoa(text);
  }

  return { peerConnections, remoteStream, record };
})();
