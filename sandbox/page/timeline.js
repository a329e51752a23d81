// What passes between the four parties, drawn as arrows between their lanes; each opens to request and answer.

import { read } from "./api.js";
import { element } from "./text.js";

const LANES = ["telegram", "bot", "cryptocloud", "row"];
const NAMES = { telegram: "Telegram", bot: "the bot", cryptocloud: "CryptoCloud", row: "the database" };
const KEPT = 400;
const list = document.getElementById("timeline");
const lines = new Map();

const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

function outcome(line) {
  if (line.pending) return "…";
  const took = line.took > 0.05 && line.from !== "telegram" ? `${Math.round(line.took * 1000)} ms` : "";
  return [line.status, took].filter(Boolean).join(" · ");
}

function step(line) {
  const [from, to] = [LANES.indexOf(line.from), LANES.indexOf(line.to)];
  const way = from === to ? "here" : from < to ? "right" : "left";
  const spoken = way === "here" ? `at ${NAMES[line.from]}:` : `from ${NAMES[line.from]} to ${NAMES[line.to]}:`;
  return element("button", {
    type: "button", class: ["step", line.pending && "pending", line.lost && "lost"].filter(Boolean).join(" "), "aria-expanded": "false",
    "data-way": way, "data-lane": LANES[Math.min(from, to)], "data-span": Math.abs(from - to), "data-to": line.to, "data-tone": line.tone ?? "",
    title: line.text, "aria-label": [clock(line.at), spoken, line.title, outcome(line)].join(" ").trim(),
  },
  element("time", {}, clock(line.at)),
  element("span", { class: "label" }, element("b", {}, line.title), element("span", {}, line.text ? ` ${line.text}` : "")),
  element("i", { class: "mark" }),
  element("span", { class: "arrow" }, element("i", {}), element("span", { class: "outcome" }, outcome(line))));
}

// JSON as people read it: indented, with colours.
function pretty(value) {
  if (typeof value === "string") return [value];
  const parts = [];
  const text = JSON.stringify(value, null, 2) ?? "";
  const words = /("(?:\\.|[^"\\])*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/g;
  let at = 0;
  for (const found of text.matchAll(words)) {
    parts.push(text.slice(at, found.index));
    const kind = found[2] ? "key" : found[1] ? "string" : "number";
    parts.push(element("span", { class: kind }, found[1] ?? found[0]), found[2] ?? "");
    at = found.index + found[0].length;
  }
  parts.push(text.slice(at));
  return parts;
}

function part(title, { head, body }) {
  if (body == null && !head) return [];
  const made = [element("h3", {}, title, element("code", {}, head))];
  if (body != null && body !== "") made.push(element("pre", { tabindex: "0" }, ...pretty(body)));
  return made;
}

async function open(item, id) {
  const button = item.querySelector(".step");
  const before = item.querySelector(".raw");
  button.setAttribute("aria-expanded", String(!before));
  if (before) return before.remove();
  const box = element("div", { class: "raw" }, element("p", { class: "faint" }, "…"));
  item.append(box);
  try {
    const raw = await read(`timeline/${id}`);
    const isNote = !raw.request.head;
    box.replaceChildren(
      ...(raw.warnings ?? []).map((one) => element("p", { class: "odd" }, `⚠ ${one}`)),
      element("p", {}, `${raw.line.title}${raw.line.text ? `: ${raw.line.text}` : ""}`),
      ...part(isNote ? "Changes" : "Request", raw.request), ...part(isNote ? "As it stands" : "Answer", raw.answer));
  } catch (error) {
    box.replaceChildren(element("p", { class: "odd" }, error.message));
  }
  box.scrollIntoView({ block: "nearest" });
}

const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 60;
// What the database did is heard of late: each line stands where it happened.
const order = ({ dataset }, line) => dataset.at - line.at || dataset.id - line.id;

function put(line, fresh) {
  const made = step(line);
  const before = lines.get(line.id);
  if (before) {
    const focused = document.activeElement === before.querySelector(".step");
    made.setAttribute("aria-expanded", before.querySelector(".step").getAttribute("aria-expanded"));
    before.querySelector(".step").replaceWith(made);
    if (focused) made.focus({ preventScroll: true });
    return;
  }
  const item = element("li", { class: ["line", line.quiet && "quiet", fresh && "fresh"].filter(Boolean).join(" "), "data-id": line.id, "data-at": line.at }, made);
  item.addEventListener("animationend", () => item.classList.remove("fresh"));
  lines.set(line.id, item);
  const after = [...list.children].findLast((one) => order(one, line) < 0);
  if (after) after.after(item);
  else list.prepend(item);
  while (lines.size > KEPT) {
    const oldest = list.firstElementChild;
    lines.delete(Number(oldest.dataset.id));
    oldest.remove();
  }
}

export function addLine(line) {
  const atEnd = isAtEnd();
  put(line, true);
  document.getElementById("nothing").hidden = true;
  if (atEnd) list.scrollTop = list.scrollHeight;
}

export async function loadTimeline() {
  const found = await read(`timeline?limit=${KEPT}`);
  list.replaceChildren();
  lines.clear();
  for (const line of found) put(line, false);
  document.getElementById("nothing").hidden = found.some((one) => !one.quiet);
  list.scrollTop = list.scrollHeight;
}

export function wireTimeline() {
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".step");
    if (button) open(button.parentElement, Number(button.parentElement.dataset.id));
  });
  document.getElementById("routine").addEventListener("change", (event) => {
    list.classList.toggle("with-routine", event.target.checked);
    list.scrollTop = list.scrollHeight;
  });
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      const isLog = button.dataset.view === "log";
      document.getElementById("log").hidden = !isLog;
      document.getElementById("timeline-view").hidden = isLog;
      document.getElementById("row").hidden = isLog;
      document.getElementById("routine").parentElement.hidden = isLog;
      for (const one of document.querySelectorAll("[data-view]")) one.setAttribute("aria-pressed", String(one === button));
    });
  }
}
