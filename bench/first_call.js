// One call from an empty page: offer to URL, phases in ms from the start of the offer, then both sides of the
// conversation recorded on one clock for SECONDS.
(async (url, seconds) => {
  const local = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const phases = {};
  const connection = new RTCPeerConnection();
  const began = performance.now();
  const mark = (phase) => { phases[phase] ??= performance.now() - began; };
  connection.addTrack(local.getTracks()[0], local);
  const remote = new Promise((done) => connection.addEventListener("track", ({ track, streams }) => {
    const stream = streams[0] ?? new MediaStream([track]);
    track.addEventListener("unmute", () => { mark("first_packet"); done(stream); });
  }));
  connection.addEventListener("iceconnectionstatechange", () => {
    if (["connected", "completed"].includes(connection.iceConnectionState)) mark("ice");
  });
  connection.addEventListener("connectionstatechange", () => {
    if (connection.connectionState === "connected") mark("dtls");
  });
  await connection.setLocalDescription();
  const response = await fetch(url, {
    method: "POST", headers: { "content-type": "application/sdp" }, body: connection.localDescription.sdp,
  });
  const answer = await response.text();
  mark("answer");
  await connection.setRemoteDescription({ type: "answer", sdp: answer });
  const heard = await remote;
  const element = new Audio(); // Chromium hands a remote stream to WebAudio only while an element plays it.
  element.muted = true;
  element.srcObject = heard;
  element.play().catch(() => {});
  const context = new AudioContext({ sampleRate: 48000 });
  const merger = context.createChannelMerger(2);
  context.createMediaStreamSource(local).connect(merger, 0, 0);
  context.createMediaStreamSource(heard).connect(merger, 0, 1);
  const processor = context.createScriptProcessor(4096, 2, 1);
  const recorded = new Float32Array(2 * seconds * 48000);
  await new Promise((done) => {
    let length = 0;
    processor.onaudioprocess = ({ inputBuffer }) => {
      const count = Math.min(inputBuffer.length, seconds * 48000 - length);
      recorded.set(inputBuffer.getChannelData(0).subarray(0, count), length);
      recorded.set(inputBuffer.getChannelData(1).subarray(0, count), seconds * 48000 + length);
      length += count;
      if (length === seconds * 48000) done();
    };
    merger.connect(processor).connect(context.destination);
  });
  const stats = [...(await connection.getStats()).values()].find((entry) => entry.type === "inbound-rtp");
  const buffered = 1000 * stats.jitterBufferDelay / stats.jitterBufferEmittedCount;
  connection.close();
  for (const track of local.getTracks()) track.stop();
  await context.close();
  const bytes = new Uint8Array(recorded.buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return { phases, buffered, recorded: btoa(text) };
})
