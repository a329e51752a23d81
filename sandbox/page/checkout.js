// The checkout while somebody looks at it: the clock ticks, and what happens elsewhere shows here. Works without, too.

const KEPT = ["amount", "mode", "format", "count", "seconds"];
const form = () => document.getElementById("pay");
let due = 0;
let reading = false;
let again = false;

function seconds(text) {
  const [hours, minutes, rest] = text.split(":").map(Number);
  return hours * 3600 + minutes * 60 + rest;
}

function enliven() {
  const clock = document.querySelector("[data-left]");
  due = clock ? Date.now() + seconds(clock.dataset.left) * 1000 : 0;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    });
  }
}

async function look() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    const response = await fetch(location.pathname);
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const typed = Object.fromEntries(KEPT.map((name) => [name, form().elements[name]?.value]));
    const focused = document.activeElement;
    const name = focused?.name && form().contains(focused) ? `[name="${focused.name}"]${focused.tagName === "BUTTON" ? `[value="${focused.value}"]` : ""}` : "";
    document.title = page.title;
    document.getElementById("live").replaceWith(page.getElementById("live"));
    for (const [field, value] of Object.entries(typed)) {
      if (value !== undefined && form().elements[field]) form().elements[field].value = value;
    }
    if (name) form().querySelector(name)?.focus();
    enliven();
  } finally {
    reading = false;
  }
  if (again) {
    again = false;
    await look();
  }
}

setInterval(() => {
  const clock = document.querySelector("[data-left]");
  if (!clock || !due) return;
  const left = Math.max(0, Math.round((due - Date.now()) / 1000));
  const two = (number) => String(number).padStart(2, "0");
  clock.textContent = `${two(Math.floor(left / 3600))}:${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
  if (left === 0) {
    due = 0;
    look();
  }
}, 500);

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && window.parent !== window) window.parent.postMessage("close", location.origin);
});

enliven();
const source = new EventSource("/control/events");
let timer = 0;
source.onmessage = (event) => {
  // "hello" comes first: something may have happened between the page and the stream.
  if (!["hello", "invoices", "postbacks", "jump"].includes(JSON.parse(event.data).topic)) return;
  clearTimeout(timer);
  timer = setTimeout(look, 60);
};
source.onerror = () => {
  // Opened without the sandbox's token: look by itself from time to time.
  if (source.readyState === EventSource.CLOSED) setInterval(look, 3000);
};
