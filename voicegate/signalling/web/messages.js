// What comes over the data channel, a line for each message, the newest at the end.

const KEPT = 200;
const LENGTH = 500; // characters of one message: more than any line shows

export class Messages {
  #card = document.getElementById("messages");
  #list = document.getElementById("message-list");

  clear() {
    this.#card.hidden = true;
    this.#list.replaceChildren();
  }

  // Events are JSON with a type, which is what one looks for; whatever else there is stands as it came.
  show(data, ms) {
    const text = typeof data === "string" ? data : `${data.byteLength} bytes`;
    const line = document.createElement("li");
    line.append(cell("time", `${(ms / 1000).toFixed(2)} s`), cell("b", eventType(text)), cell("span", text.slice(0, LENGTH)));
    this.#card.hidden = false;
    const { scrollTop, scrollHeight, clientHeight } = this.#list;
    this.#list.append(line);
    if (this.#list.childElementCount > KEPT) this.#list.firstElementChild.remove();
    // Who has scrolled up is reading, and is left alone.
    if (scrollHeight - scrollTop - clientHeight < 8) this.#list.scrollTop = this.#list.scrollHeight;
  }
}

function cell(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

function eventType(text) {
  try {
    const { type } = JSON.parse(text);
    return typeof type === "string" ? type : "";
  } catch {
    return "";
  }
}
