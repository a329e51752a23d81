// The page: who you are, the chat with the bot or a channel, and what passes behind it while you look.

import { act, read, soon, watch } from "./api.js";
import { answered, refused, say, showChat } from "./chat.js";
import { words } from "./client_words.js";
import { loadRow } from "./row.js";
import { closeSheet, wireLinks } from "./sheet.js";
import {
  attempt, isInside, showChannels, showPeople, showProcess, showProject, showSwitches, wireControls,
} from "./controls.js";
import { element } from "./text.js";
import { addLine, loadTimeline, wireTimeline } from "./timeline.js";

const at = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const unread = new Set();
let payload = query.get("start") ?? "";
let me = Number(localStorage.getItem("person")) || 0;
let channel = 0; // that is open in place of the chat with the bot
let state = null;
let chatIsEmpty = true;
let typingTimer = 0;
history.replaceState(null, "", "/");

const person = () => state.people.find((one) => one.id === me) ?? state.people[0];
const spoken = () => words(person().language);
const trouble = (error) => say(error.message);
const chatId = () => channel || me;

function showTab(name) {
  document.body.dataset.tab = name;
  for (const button of document.querySelectorAll("[data-pane]")) {
    if (button.dataset.pane === name) {
      button.setAttribute("aria-current", "page");
      button.classList.remove("news");
    } else button.removeAttribute("aria-current");
  }
  if (name === "behind") at("timeline").scrollTop = at("timeline").scrollHeight;
  if (name === "chat") at("messages").scrollTop = at("messages").scrollHeight;
}

function news(name) {
  if (document.body.dataset.tab !== name) document.querySelector(`[data-pane="${name}"]`).classList.add("news");
}

const send = (text) => attempt("say", { person_id: me, text });

function showComposer() {
  const who = person();
  const said = spoken();
  const begin = at("begin");
  begin.hidden = !who.blocked && !payload && !chatIsEmpty;
  begin.textContent = who.blocked ? said.restart : payload ? `${said.start} · ${payload}` : said.start;
  at("say").hidden = who.blocked || (chatIsEmpty && !payload);
  at("text").placeholder = said.message;
  at("block").textContent = who.blocked ? said.unblock : said.block;
  at("block").hidden = at("composer").hidden = channel !== 0;
  at("me").textContent = who.first_name;
  at("menu").hidden = !who.commands.length;
  at("menu").lastElementChild.textContent = said.menu;
  const offered = who.commands.map(({ command, description }) =>
    element("li", {}, element("button", { type: "button", onclick: () => { closeMenu(); send(`/${command}`); at("text").focus(); } },
      description, element("b", {}, `/${command}`))));
  const open = document.activeElement?.closest("#commands") ? [...at("commands").querySelectorAll("button")].indexOf(document.activeElement) : -1;
  const leftOut = [...at("commands").children].filter((one) => one.hidden).map((one) => one.textContent);
  for (const item of offered) item.hidden = leftOut.includes(item.textContent);
  at("commands").replaceChildren(...offered);
  if (open >= 0) at("commands").querySelectorAll("button")[open]?.focus();
}

function closeMenu() {
  at("commands").hidden = true;
  at("menu").setAttribute("aria-expanded", "false");
}

async function loadChat() {
  const [id, whose] = [chatId(), me];
  const messages = await read(`chats/${id}`);
  if (id !== chatId() || whose !== me) return;
  if (!channel) chatIsEmpty = !messages.some((one) => !one.deleted);
  const { language } = person();
  const description = state.profile[`description|${language}`] || state.profile.description || "Press START to talk to the bot.";
  showChat({ id, person: me, language, onCommand: send, welcome: channel ? spoken().no_posts : description }, messages);
  showComposer();
}

function showHeader() {
  const opened = state.channels.find((one) => one.id === channel);
  const name = opened?.title ?? (state.profile.name || state.bot.first_name);
  at("chat-name").textContent = name;
  at("chat-avatar").textContent = [...name][0];
  at("chat-avatar").className = opened ? "avatar channel" : "avatar bot";
  at("messages").setAttribute("aria-label", opened ? name : "Chat with the bot");
  at("back").hidden = !opened;
  at("back").title = spoken().back;
  at("back").setAttribute("aria-label", spoken().back);
}

function showState() {
  showPeople(state, me, unread, become);
  showChannels(state, person(), unread, { onOpen: openChannel, onLeave: leave });
  showHeader();
  showComposer();
}

async function loadState() {
  state = await read("state");
  me = person().id;
  if (channel && !isInside(person(), channel)) openChannel(0);
  showState();
  showSwitches(state);
  showProject(state);
  showProcess(state.process);
}

async function become(id) {
  me = id;
  channel = 0;
  localStorage.setItem("person", id);
  unread.delete(id);
  closeMenu();
  closeSheet();
  presence();
  showState();
  showTab("chat");
  await Promise.all([loadChat(), loadRow(me)]).catch(trouble);
}

// 0 goes back to the chat with the bot.
function openChannel(id) {
  channel = id;
  unread.delete(chatId());
  closeMenu();
  closeSheet();
  presence();
  showState();
  showTab("chat");
  loadChat().then(() => (channel ? at("back") : at("text")).focus({ preventScroll: true })).catch(trouble);
}

async function follow(link) {
  const answer = await attempt("people/join", { id: me, link });
  if (!answer) return;
  await loadState();
  const led = state.channels.find((one) => one.links.some((known) => known.invite_link === link));
  if (led && answer.outcome !== "asked") openChannel(led.id);
  say(spoken()[answer.outcome]);
}

async function leave(id) {
  if (await attempt("people/leave", { id: me, channel_id: id })) say(spoken().left);
}

function start(given) {
  if (channel) openChannel(0);
  payload = given;
  showComposer();
  at("begin").focus();
}

const refresh = {
  state: soon(loadState, 40, trouble), chat: soon(loadChat, 15, trouble), row: soon(() => loadRow(me), 40, trouble), log: soon(loadState, 700, trouble),
};

function presence(text = "", seconds = 0) {
  at("presence").textContent = text || (channel ? spoken().channel : spoken().bot);
  at("presence").classList.toggle("typing", seconds > 0);
  clearTimeout(typingTimer);
  if (seconds) typingTimer = setTimeout(presence, seconds * 1000);
}

function passed(line) {
  addLine(line);
  if (!line.quiet && line.tone === "bad") news("behind");
  const isRefusal = line.from === "bot" && line.to === "telegram" && line.tone === "bad" && !line.pending;
  if (isRefusal && line.chat_id === chatId()) refused(line.title, `${line.status ?? ""} ${line.text}`.trim());
}

function changed(change) {
  switch (change.topic) {
    case "hello":
      for (const load of Object.values(refresh)) load();
      loadTimeline().catch(trouble);
      presence();
      break;
    case "line":
      passed(change.line);
      break;
    case "row":
      refresh.row();
      if (change.state) refresh.state();
      break;
    case "jump":
      refresh.chat();
      refresh.row();
      break;
    case "chat":
      if (change.chat_id === chatId()) {
        refresh.chat();
        presence();
        news("chat");
      } else if (state.people.some((one) => one.id === change.chat_id) || isInside(person(), change.chat_id)) {
        unread.add(change.chat_id);
        showState();
        news("controls");
      }
      break;
    case "typing":
      if (change.chat_id === chatId()) presence(spoken().typing, 5);
      break;
    case "answer":
      if (change.person_id === me) answered(change);
      break;
    case "log":
      refresh.log();
      break;
    case "invoices":
    case "postbacks":
      break;
    default:
      refresh.state();
  }
}

at("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  at("text").value = "";
  closeMenu();
  if (text) send(text);
});
at("text").addEventListener("input", () => {
  const typed = at("text").value;
  const fits = (item) => item.querySelector("b").textContent.startsWith(typed);
  if (!typed.startsWith("/")) {
    if (!at("commands").contains(document.activeElement)) closeMenu();
    return;
  }
  let any = false;
  for (const item of at("commands").children) any = !(item.hidden = !fits(item)) || any;
  at("commands").hidden = !any;
});
at("begin").addEventListener("click", async () => {
  if (person().blocked) await attempt("people/unblock", { id: me });
  const text = payload ? `/start ${payload}` : "/start";
  payload = "";
  if (await send(text)) chatIsEmpty = false;
  showComposer();
  at("text").focus();
});
at("block").addEventListener("click", () => attempt(`people/${person().blocked ? "unblock" : "block"}`, { id: me }));
at("back").addEventListener("click", () => openChannel(0));
at("menu").addEventListener("click", () => {
  const open = at("commands").hidden;
  for (const item of at("commands").children) item.hidden = false;
  at("commands").hidden = !open;
  at("menu").setAttribute("aria-expanded", String(open));
  if (open) at("commands").querySelector("button")?.focus();
});
at("commands").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const keys = [...at("commands").querySelectorAll("li:not([hidden]) button")];
  keys.at((keys.indexOf(document.activeElement) + step) % keys.length).focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || at("alert").open || closeSheet()) return;
  if (channel) openChannel(0);
  else if (!at("commands").hidden) {
    closeMenu();
    at("menu").focus();
  }
});
document.addEventListener("click", (event) => {
  if (!event.target.closest(".commands, #text")) closeMenu();
});
at("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const id = Math.max(1003, ...state.people.map((one) => one.id).filter((one) => one < 9000)) + 1;
  if (!await attempt("people", { id, first_name: form.get("first_name"), language: form.get("language") })) return;
  event.target.reset();
  event.target.closest("details").open = false;
  await loadState();
  await become(id);
});
at("join").addEventListener("submit", (event) => {
  event.preventDefault();
  follow(event.target.elements.link.value);
});
for (const button of document.querySelectorAll("[data-pane]")) button.addEventListener("click", () => showTab(button.dataset.pane));

wireControls();
wireTimeline();
wireLinks({ onStart: start, onInvite: follow });
showTab("chat");
try {
  await loadState();
  await Promise.all([loadChat(), loadTimeline(), loadRow(me)]);
  watch(changed, () => presence("the sandbox does not answer"));
} catch (error) {
  trouble(error);
}
