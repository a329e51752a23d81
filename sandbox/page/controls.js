// Who you are, what day it is, and what goes wrong: the pane with people and switches.

import { act } from "./api.js";
import { say } from "./chat.js";
import { element } from "./text.js";

const at = (id) => document.getElementById(id);
const SWITCHES = [
  ["telegram", "Telegram", [
    ["", "normal"], ["too_many_requests", "429", { method: "sending", retry_after: 3 }], ["server_error", "500"], ["bad_gateway", "HTML 502"],
    ["deliver_then_hang", "delivers, no answer", { method: "sending" }], ["down", "down"],
  ]],
  ["cryptocloud", "CryptoCloud", [["", "normal"], ["slow", "slow", { seconds: 4 }], ["html_502", "HTML 502"], ["down", "down"]]],
];
const PLACES = { member: "in it", asked: "has asked", left: "not in it", kicked: "banned", creator: "owner" };

export async function attempt(path, body) {
  try {
    return await act(path, body);
  } catch (error) {
    say(error.message);
    return null;
  }
}

export function showPeople(state, me, unread, become) {
  const focused = document.activeElement?.dataset?.person;
  at("people").replaceChildren(...state.people.map((one, index) => element("button", {
    type: "button", class: "person", "aria-pressed": String(one.id === me), "data-person": one.id, onclick: () => become(one.id),
  },
  element("span", { class: "avatar", "data-hue": index % 5, "aria-hidden": "true" }, [...one.first_name][0] ?? "?"),
  element("span", {}, element("b", {}, one.first_name),
    element("small", {}, [one.language === "ru" ? "русский" : one.language === "en" ? "English" : one.language, one.blocked ? "blocked the bot" : one.id].join(" · "))),
  ...(unread.has(one.id) ? [element("span", { class: "dot" }, element("span", { class: "aside" }, "new messages"))] : []))));
  if (focused) document.querySelector(`[data-person="${focused}"]`)?.focus();
}

export const isInside = (person, channel) => ["member", "creator"].includes(person.channels[channel]);

export function showChannels(state, who, unread, { onOpen, onLeave }) {
  at("channels-news").hidden = !state.channels.some((one) => unread.has(one.id));
  at("channels").replaceChildren(...state.channels.map((channel) => {
    const place = who.channels[channel.id];
    const link = channel.links.findLast((one) => !one.is_revoked);
    const choose = () => { at("join").elements.link.value = link.invite_link; };
    return element("li", {},
      element("span", { class: "row" },
        element("b", {}, channel.title, " ",
          ...(unread.has(channel.id) ? [element("span", { class: "dot" }, element("span", { class: "aside" }, "new posts"))] : [])),
        element("span", { class: "faint" }, PLACES[place])),
      element("span", { class: "row" },
        ...(isInside(who, channel.id) ? [element("button", { type: "button", class: "small", onclick: () => onOpen(channel.id) }, "Open")] : []),
        ...(link && !isInside(who, channel.id) ? [element("button", { type: "button", class: "small", onclick: choose }, link.name ? `Link “${link.name}”` : "Its newest link")] : []),
        ...(place === "member" ? [element("button", { type: "button", class: "small", onclick: () => onLeave(channel.id) }, "Leave")] : [])));
  }));
}

export function showSwitches(state) {
  if (!at("switches").children.length) {
    at("switches").append(...SWITCHES.map(([place, name, positions]) => element("fieldset", { class: "chips", "data-place": place },
      element("legend", {}, name),
      ...positions.map(([kind, label, options]) => element("label", {},
        element("input", { type: "radio", name: `switch-${place}`, value: kind, onchange: () => attempt("faults/switch", { place, kind: kind || null, ...options }) }),
        element("span", {}, label))))));
  }
  for (const [place] of SWITCHES) {
    const on = state.faults.find((one) => one.place === place && one.switched)?.kind ?? "";
    for (const one of document.getElementsByName(`switch-${place}`)) one.checked = one.value === on;
  }
  for (const button of document.querySelectorAll(".trouble-database")) button.disabled = state.database !== "watching";
}

export function showProject({ project, words, rate_limit_on: limited }) {
  const mode = at("mode");
  if (!mode.options.length) {
    mode.append(...Object.entries(words.postback_modes).map(([name, meaning]) =>
      element("option", { value: name }, `${name.replaceAll("_", " ")}: ${meaning}`)));
  }
  mode.value = project.postback.mode;
  at("format").value = project.postback.format;
  at("test-mode").checked = project.test_mode;
  at("rate-limit").checked = limited;
}

export function showProcess(process) {
  const state = process?.state ?? "none";
  at("process").textContent = {
    ready: "bot is ready", starting: "bot is starting…", stopped: "bot is stopped",
    dead: `bot died, code ${process?.exit_code}`, none: "no bot of its own",
  }[state];
  at("process").className = `pill ${state}`;
  const runs = ["ready", "starting"].includes(state);
  at("kill").hidden = at("restart").hidden = !runs;
  at("start").hidden = runs || state === "none";
  const log = at("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.textContent = (process?.lines ?? []).join("\n");
  if (atEnd) log.scrollTop = log.scrollHeight;
}

export function wireControls() {
  at("mode").addEventListener("change", (event) => attempt("project", { postback: { mode: event.target.value } }));
  at("format").addEventListener("change", (event) => attempt("project", { postback: { format: event.target.value } }));
  at("test-mode").addEventListener("change", (event) => attempt("project", { test_mode: event.target.checked }));
  at("rate-limit").addEventListener("change", (event) => attempt("rate-limit", { on: event.target.checked }));
  for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", () => attempt(button.dataset.act));
  at("kill").addEventListener("click", () => attempt("bot/kill"));
  at("start").addEventListener("click", () => attempt("bot/start"));
  at("restart").addEventListener("click", async () => {
    if (await attempt("bot/kill")) attempt("bot/start");
  });
  for (const button of document.querySelectorAll("[data-jump]")) {
    button.addEventListener("click", () => attempt("jump", { seconds: Number(button.dataset.jump) }));
  }
  at("jump").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt("jump", { seconds: Number(event.target.elements.days.value) * 86400 });
  });
}
