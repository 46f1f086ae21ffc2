// The set-up of a call as rows of a table: what the browser saw, and what the server reports.

const BROWSER_STEPS = [
  ["offer", "Offer made"],
  ["answer", "Answer received"],
  ["ice", "Path found (ICE)"],
  ["dtls", "Encrypted (DTLS)"],
  ["packet", "First packet back"],
  ["channel", "Data channel open"],
];

export class Timeline {
  #card = document.getElementById("timeline");
  #browser = document.getElementById("browser-steps");
  #server = document.getElementById("server-steps");
  #legend = document.getElementById("legend");

  clear() {
    this.#card.hidden = true;
    this.#browser.replaceChildren();
    this.#server.replaceChildren();
  }

  // Both are maps from a step to the milliseconds when it was done: the browser's since the button was pressed, the
  // server's since the offer reached it. They are drawn on one scale, which starts when the microphone was granted.
  show(browser, server) {
    if (browser.answer === undefined) return; // there is no call yet
    const start = browser.microphone;
    const steps = BROWSER_STEPS.filter(([name]) => browser[name] !== undefined);
    const scale = Math.max(1, ...steps.map(([name]) => browser[name] - start));

    const rows = [];
    let done = 0;
    for (const [name, label] of steps) {
      const at = browser[name] - start;
      rows.push(row(label, Math.min(done, at) / scale, at / scale, at));
      done = Math.max(done, at);
    }
    if (browser.sound !== undefined) rows.push(row("First sound back", null, null, browser.sound - start));
    this.#browser.replaceChildren(heading("Browser"), ...rows);

    const reported = Object.entries(server ?? {}).sort((a, b) => a[1] - b[1]);
    const arrival = (browser.offer ?? start) - start;
    done = arrival;
    this.#server.replaceChildren(...(reported.length ? [heading("Server")] : []), ...reported.map(([name, ms]) => {
      const at = arrival + ms;
      const bar = at <= scale * 1.02
        ? row(words(name), done / scale, Math.min(1, at / scale), ms)
        : row(words(name), null, null, ms);
      done = at;
      return bar;
    }));

    this.#legend.textContent =
      `Milliseconds since the microphone was granted, which took ${format(browser.microphone)}` +
      `${reported.length ? "; the server counts from the offer's arrival" : ""}.`;
    this.#card.hidden = false;
  }
}

function heading(text) {
  const line = document.createElement("tr");
  const cell = line.appendChild(document.createElement("th"));
  cell.scope = "rowgroup";
  cell.colSpan = 3;
  cell.textContent = text;
  return line;
}

function row(label, from, to, ms) {
  const line = document.createElement("tr");
  const name = line.appendChild(document.createElement("th"));
  name.scope = "row";
  name.textContent = label;
  const span = line.appendChild(document.createElement("td"));
  if (to !== null) {
    const track = span.appendChild(document.createElement("span"));
    track.className = "track";
    const bar = track.appendChild(document.createElement("i"));
    bar.style.setProperty("--from", from.toFixed(4));
    bar.style.setProperty("--to", to.toFixed(4));
  }
  const time = line.appendChild(document.createElement("td"));
  time.className = "time";
  time.textContent = format(ms);
  return line;
}

function words(name) {
  const text = name.replaceAll("_", " ").replace(/\b(dtls|ice|stun|srtp)\b/g, (acronym) => acronym.toUpperCase());
  return text[0].toUpperCase() + text.slice(1);
}

function format(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
