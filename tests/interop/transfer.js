// Random messages to an agent that says them back, through an address put in place of the server's.

async function open_channel(url, address, options) {
  const connection = new RTCPeerConnection();
  connection.addTransceiver("audio");
  const channel = connection.createDataChannel("transfer", options);
  channel.binaryType = "arraybuffer";
  await connection.setLocalDescription();
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/sdp" },
    body: connection.localDescription.sdp,
  });
  const answer = (await response.text()).replace(/^(a=candidate:\S+ 1 udp \d+) \S+ \d+/gm, `$1 ${address}`);
  await connection.setRemoteDescription({ type: "answer", sdp: answer });
  return { connection, channel };
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

// Returns how many messages and bytes came back as they were said, and the first that did not.
async function transfer(url, address, { total, longest, seed, options }) {
  const { connection, channel } = await open_channel(url, address, options);
  const random = numbers(seed);
  const waiting = [];
  const outcome = { messages: 0, bytes: 0, fault: null };
  await new Promise((resolve, reject) => {
    channel.onopen = resolve;
    connection.onconnectionstatechange = () =>
      connection.connectionState === "failed" && reject(new Error("connection failed"));
  });
  let sent = 0;
  await new Promise((resolve) => {
    const finish = (fault) => { outcome.fault = fault; resolve(); };
    const say = () => {
      while (sent < total && channel.bufferedAmount < 1 << 20) {
        const message = make_message(random, longest);
        sent += typeof message === "string" ? new TextEncoder().encode(message).length : message.byteLength;
        waiting.push(message);
        channel.send(message);
      }
    };
    channel.bufferedAmountLowThreshold = 1 << 19;
    channel.onbufferedamountlow = say;
    channel.onclose = () => finish("closed");
    channel.onmessage = ({ data }) => {
      const expected = waiting.shift();
      if (expected === undefined || !is_same(expected, data)) finish(`message ${outcome.messages}`);
      outcome.messages += 1;
      outcome.bytes += typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
      if (sent >= total && waiting.length === 0) resolve();
    };
    say();
  });
  channel.onclose = null;
  connection.close();
  return outcome;
}
