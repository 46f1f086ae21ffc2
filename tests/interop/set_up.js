// One call to `set_up_server`: sound both ways, channels agreed and announced, by either side, pings both ways.

async function set_up(url, { is_passive, is_agreed }) {
  const connection = new RTCPeerConnection();
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  connection.addTrack(microphone.getTracks()[0], microphone);
  const heard = {};
  const channelStats = async () =>
    [...(await connection.getStats()).values()].filter(({ type }) => type === "data-channel");
  window.state = async () => ({ heard, channels: await channelStats() });
  let finish;
  const reported = new Promise((done) => (finish = done));
  const use = (channel) => {
    const told = (heard[channel.label] = []);
    // Not sooner, whatever readyState says: what Chromium 156 is given before, it sometimes loses.
    const opened = new Promise((done) => {
      channel.addEventListener("open", done);
      // A channel on which something came is open, even if, once in hundreds of calls, nobody says so.
      channel.addEventListener("message", () => setTimeout(done, 1000), { once: true });
    });
    const countSent = async () => (await channelStats()).find(({ label }) => label === channel.label)?.messagesSent;
    let said = opened;
    const say = (text) => (said = said.then(async () => {
      // Chromium 156 loses, once in a hundred calls, the first thing it is given, and doesn't count it as sent.
      const sent = await countSent();
      do {
        channel.send(text);
        await new Promise((done) => setTimeout(done, 100));
      } while ((await countSent()) === sent);
    }));
    say("ping");
    channel.addEventListener("message", ({ data }) => {
      if (data === "ping") say("pong");
      data.startsWith("{") ? finish(JSON.parse(data)) : told.push(data);
    });
  };
  connection.addEventListener("datachannel", ({ channel }) => use(channel));
  use(connection.createDataChannel("theirs"));
  if (is_agreed) use(connection.createDataChannel("agreed", { negotiated: true, id: 20 }));
  await connection.setLocalDescription();
  // Who offers actpass takes either role; told that it is passive, the server becomes the client.
  const offer = connection.localDescription.sdp.replaceAll(
    "a=setup:actpass", is_passive ? "a=setup:passive" : "a=setup:actpass");
  const response = await fetch(url + "v1/realtime/calls" + (is_agreed ? "?dcid=20" : ""), {
    method: "POST",
    headers: { "content-type": "application/sdp" },
    body: offer,
  });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(answer);
  await connection.setRemoteDescription({ type: "answer", sdp: answer });
  const server = await reported;
  let received, transport;
  do {
    await new Promise((done) => setTimeout(done, 20));
    const stats = [...(await connection.getStats()).values()];
    received = stats.find(({ type }) => type === "inbound-rtp")?.packetsReceived;
    transport = stats.find(({ type }) => type === "transport");
  } while (!(received > 5 && transport?.tlsVersion && Object.values(heard).every((told) => told.length >= 2)));
  connection.close();
  microphone.getTracks()[0].stop(); // The page stays, and others come.
  const { tlsVersion, dtlsCipher, srtpCipher, dtlsRole } = transport;
  return { offer, answer, heard, server, transport: { tlsVersion, dtlsCipher, srtpCipher, dtlsRole } };
}
