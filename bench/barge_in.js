// A call from an empty page in which we listen only: says when what is heard becomes loud or falls silent, as
// [milliseconds of wall clock, whether it is loud] in window.changes, for as long as the page is there.
(async (url) => {
  const local = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const connection = new RTCPeerConnection();
  connection.addTrack(local.getTracks()[0], local);
  const remote = new Promise((done) => connection.addEventListener("track", ({ track, streams }) => {
    done(streams[0] ?? new MediaStream([track]));
  }));
  await connection.setLocalDescription();
  const response = await fetch(url, {
    method: "POST", headers: { "content-type": "application/sdp" }, body: connection.localDescription.sdp,
  });
  await connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
  const heard = await remote;
  const element = new Audio(); // Chromium hands a remote stream to WebAudio only while an element plays it.
  element.muted = true;
  element.srcObject = heard;
  element.play().catch(() => {});
  const context = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
  const processor = context.createScriptProcessor(256, 1, 1); // a worklet's module is against the page's CSP
  window.changes = [];
  let wasLoud = false;
  processor.onaudioprocess = ({ inputBuffer }) => {
    const isLoud = inputBuffer.getChannelData(0).some((sample) => Math.abs(sample) > 0.02);
    if (isLoud !== wasLoud) window.changes.push([performance.timeOrigin + performance.now(), isLoud]);
    wasLoud = isLoud;
  };
  context.createMediaStreamSource(heard).connect(processor).connect(context.destination);
  window.call = { connection, context };
  return true;
})
