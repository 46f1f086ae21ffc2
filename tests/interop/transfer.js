// Random messages to an agent that says them back.
window.transfer = (() => {
  let connection, channel;

  async function offer(options) {
    connection = new RTCPeerConnection();
    connection.addTransceiver("audio");
    channel = connection.createDataChannel("transfer", options);
    channel.binaryType = "arraybuffer";
    await connection.setLocalDescription();
    return connection.localDescription.sdp;
  }

  // Mulberry32: the same numbers for the same seed.
  function numbers(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return (mixed ^ (mixed >>> 14)) >>> 0;
    };
  }

  function make_message(random, longest) {
    const kind = random() % 4;
    const length = kind === 0 ? random() % 64 : random() % longest;
    if (kind === 1) return "ü".repeat(Math.floor(length / 8)) + random();
    const data = new Uint32Array(Math.ceil(length / 4));
    for (let index = 0; index < data.length; index++) data[index] = random();
    return data.buffer.slice(0, length);
  }

  function is_same(left, right) {
    if (typeof left === "string" || typeof right === "string") return left === right;
    if (left.byteLength !== right.byteLength) return false;
    const [a, b] = [new Uint8Array(left), new Uint8Array(right)];
    return a.every((byte, index) => byte === b[index]);
  }

  const size = (message) =>
    typeof message === "string" ? new TextEncoder().encode(message).length : message.byteLength;

  // Returns how many messages and bytes came back as they were said, and what was wrong if something was.
  async function run(answer, { total, longest, seed }) {
    const random = numbers(seed);
    const waiting = [];
    const outcome = { messages: 0, bytes: 0, fault: null };
    let sent = 0;
    await new Promise((done) => {
      const finish = (fault) => { outcome.fault ??= fault; done(); };
      const say = () => {
        while (sent < total && channel.bufferedAmount < 1 << 20) {
          const message = make_message(random, longest);
          sent += size(message);
          waiting.push(message);
          channel.send(message);
        }
      };
      channel.onopen = say;
      channel.bufferedAmountLowThreshold = 1 << 19;
      channel.onbufferedamountlow = say;
      channel.onclose = () => finish("closed");
      connection.onconnectionstatechange = () =>
        connection.connectionState === "failed" && finish("connection failed");
      channel.onmessage = ({ data }) => {
        const found = channel.ordered ? 0 : waiting.findIndex((message) => is_same(message, data));
        const [expected] = waiting.splice(found, 1);
        if (found < 0 || expected === undefined || !is_same(expected, data)) finish(`message ${outcome.messages}`);
        outcome.messages += 1;
        outcome.bytes += size(data);
        if (sent >= total && waiting.length === 0) finish(null);
      };
      connection.setRemoteDescription({ type: "answer", sdp: answer }).catch((error) => finish(String(error)));
    });
    channel.onclose = null;
    connection.close();
    return outcome;
  }

  return { offer, run };
})()
