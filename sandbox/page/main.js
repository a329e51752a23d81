// The page: who you are, the chat with the bot, and what changes while you look.

import { act, read, watch } from "./api.js";
import { answered, say, showChat } from "./chat.js";
import { showInvoices, showPostbacks, showProcess, showProject, wirePanel } from "./panel.js";
import { element } from "./text.js";

const at = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const unread = new Set();
let payload = query.get("start") ?? "";
let me = Number(localStorage.getItem("person")) || 0;
let state = null;
let chatIsEmpty = true;
let typingTimer = 0;
history.replaceState(null, "", "/");

const person = () => state.people.find((one) => one.id === me) ?? state.people[0];

function soon(work, delay = 40) {
  let timer = 0;
  return () => {
    if (!timer) timer = setTimeout(() => { timer = 0; work().catch((error) => say(error.message)); }, delay);
  };
}

async function send(text) {
  try {
    await act("say", { person_id: me, text });
  } catch (error) {
    say(error.message);
  }
}

function showPeople() {
  const focused = document.activeElement?.dataset?.person;
  at("people").replaceChildren(...state.people.map((one) => {
    const button = element("button", {
      type: "button", class: unread.has(one.id) ? "person unread" : "person",
      "aria-pressed": String(one.id === me), "data-person": one.id, onclick: () => become(one.id),
    },
    element("span", { class: "avatar", "aria-hidden": "true" }, [...one.first_name][0] ?? "?"),
    element("span", {}, element("b", {}, one.first_name),
      element("small", {}, `${one.language} · ${one.blocked ? "blocked the bot" : one.id}`)));
    return button;
  }));
  if (focused) document.querySelector(`[data-person="${focused}"]`)?.focus();
}

function showComposer() {
  const who = person();
  const begin = at("begin");
  const starting = !who.blocked && (payload || chatIsEmpty);
  begin.hidden = !who.blocked && !starting;
  begin.textContent = who.blocked ? "Restart the bot" : payload ? `Start with “${payload}”` : "Start";
  at("say").hidden = who.blocked || (chatIsEmpty && !payload);
  at("block").textContent = who.blocked ? "Unblock" : "Block";
  at("menu").hidden = !who.commands.length;
  at("commands").replaceChildren(...who.commands.map(({ command, description }) =>
    element("li", {}, element("button", { type: "button", onclick: () => { closeMenu(); send(`/${command}`); } },
      element("b", {}, `/${command}`), description))));
}

function closeMenu() {
  at("commands").hidden = true;
  at("menu").setAttribute("aria-expanded", "false");
}

async function loadChat() {
  const whose = me;
  const messages = await read(`chats/${whose}`);
  if (whose !== me) return;
  chatIsEmpty = !messages.some((one) => !one.deleted);
  const description = state.profile[`description|${person().language}`] || state.profile.description;
  showChat(whose, messages, { onCommand: send, welcome: description || "Press Start to talk to the bot." });
  showComposer();
}

async function loadState() {
  state = await read("state");
  me = person().id;
  at("bot-name").textContent = state.profile.name || state.bot.first_name;
  showPeople();
  showComposer();
  showProject(state);
  showProcess(state.process);
}

async function loadInvoices() {
  showInvoices(await read("invoices"), state);
}

async function loadPostbacks() {
  showPostbacks(await read("postbacks?limit=8"));
}

async function become(id) {
  me = id;
  localStorage.setItem("person", id);
  unread.delete(id);
  closeMenu();
  showPeople();
  await loadChat();
}

const refresh = {
  state: soon(loadState), chat: soon(loadChat, 15), invoices: soon(loadInvoices),
  postbacks: soon(loadPostbacks), log: soon(loadState, 700),
};

function presence(text, seconds = 0) {
  at("presence").textContent = text;
  clearTimeout(typingTimer);
  if (seconds) typingTimer = setTimeout(() => presence("bot"), seconds * 1000);
}

function changed(change) {
  switch (change.topic) {
    case "hello":
      for (const load of Object.values(refresh)) load();
      presence("bot");
      break;
    case "chat":
      if (change.chat_id === me) {
        refresh.chat();
        presence("bot");
      } else {
        unread.add(change.chat_id);
        showPeople();
      }
      break;
    case "typing":
      if (change.chat_id === me) presence("typing…", 5);
      break;
    case "answer":
      if (change.person_id === me) answered(change);
      break;
    case "invoices":
      refresh.invoices();
      break;
    case "postbacks":
      refresh.postbacks();
      break;
    case "log":
      refresh.log();
      break;
    case "calls":
      break;
    default:
      refresh.state();
  }
}

at("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  at("text").value = "";
  if (text) send(text);
});
at("begin").addEventListener("click", async () => {
  if (person().blocked) await act("people/unblock", { id: me });
  const text = payload ? `/start ${payload}` : "/start";
  payload = "";
  await send(text);
  at("text").focus();
});
at("block").addEventListener("click", () =>
  act(`people/${person().blocked ? "unblock" : "block"}`, { id: me }).catch((error) => say(error.message)));
at("menu").addEventListener("click", () => {
  const open = at("commands").hidden;
  at("commands").hidden = !open;
  at("menu").setAttribute("aria-expanded", String(open));
  if (open) at("commands").querySelector("button")?.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !at("commands").hidden) {
    closeMenu();
    at("menu").focus();
  }
});
document.addEventListener("click", (event) => {
  if (!event.target.closest(".commands")) closeMenu();
});
at("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const id = Math.max(1002, ...state.people.map((one) => one.id).filter((one) => one < 9000)) + 1;
  try {
    await act("people", { id, first_name: form.get("first_name"), language: form.get("language") });
    event.target.reset();
    await loadState();
    await become(id);
  } catch (error) {
    say(error.message);
  }
});
wirePanel();
try {
  await loadState();
  await Promise.all([loadChat(), loadInvoices(), loadPostbacks()]);
  watch(changed, () => presence("the sandbox does not answer"));
} catch (error) {
  say(error.message);
}
