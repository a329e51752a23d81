// The chat: bubbles that change in place, keyboards under them, toasts and alerts.

import { act } from "./api.js";
import { day, words } from "./client_words.js";
import { element, formatted, safeLink } from "./text.js";

const SPINNER_SECONDS = 15;
const list = document.getElementById("messages");
const toast = document.getElementById("toast");
const shown = new Map();
const pressed = new Map();
const answers = new Map();
const TOAST_STAYS = 3500;
const TOAST_CAN_BE_READ = 1500;
let toastTimer = 0;
let toastSince = 0;

function endToastIn(delay) {
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("shown"), delay);
}

export function say(text) {
  toast.textContent = text;
  toast.classList.add("shown");
  toastSince = Date.now();
  endToastIn(TOAST_STAYS);
}

export const hush = () => endToastIn(0);

// What comes next takes the toast's place, once it could be read.
const endToast = () => endToastIn(Math.max(0, toastSince + TOAST_CAN_BE_READ - Date.now()));

export function answered({ press_id: id, text, alert }) {
  const button = pressed.get(id);
  if (!button) {
    answers.set(id, { press_id: id, text, alert });
    setTimeout(() => answers.delete(id), 5000);
    return;
  }
  pressed.delete(id);
  button.classList.remove("waiting");
  if (!text) return;
  if (!alert) return say(text);
  const dialog = document.getElementById("alert");
  dialog.querySelector("p").textContent = text;
  if (!dialog.open) dialog.showModal();
}

async function press(chat, messageId, data, button) {
  button.classList.add("waiting");
  try {
    const { press_id: id } = await act("press", { chat_id: chat.id, person_id: chat.person, message_id: messageId, data });
    pressed.set(id, button);
    if (answers.has(id)) answered(answers.get(id));
    setTimeout(() => {
      if (pressed.delete(id)) button.classList.remove("waiting");
    }, SPINNER_SECONDS * 1000);
  } catch (error) {
    button.classList.remove("waiting");
    say(error.message);
  }
}

function key(chat, messageId, button) {
  const looks = { class: "button", "data-style": button.style };
  if (button.url) {
    const href = safeLink(button.url);
    return element("a", { ...looks, class: "button link", href, target: "_blank", rel: "noopener" }, button.text);
  }
  if (button.copy_text) {
    const { text } = button.copy_text;
    const copy = () => navigator.clipboard.writeText(text).then(() => say(words(chat.language).copied), () => say(text));
    return element("button", { ...looks, type: "button", onclick: copy }, button.text);
  }
  const data = button.callback_data;
  const onclick = (event) => press(chat, messageId, data, event.currentTarget);
  return element("button", { ...looks, type: "button", onclick, disabled: data == null }, button.text);
}

const sized = (bytes) => (bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KB`);
const fileAt = (id) => `/control/files/${encodeURIComponent(id)}`;

function content(message, { onCommand, language }) {
  const parts = [];
  const text = message.text ?? message.caption ?? "";
  if (message.document) {
    const { file_id: id, file_name: name, file_size: bytes } = message.document;
    parts.push(element("a", { class: "document", href: fileAt(id), download: name },
      element("i", { "aria-hidden": "true" }, "↓"), element("span", {}, element("b", {}, name), element("small", {}, sized(bytes)))));
  }
  if (message.photo) {
    const { file_id: id, width, height } = message.photo.at(-1);
    parts.push(element("a", { href: fileAt(id), target: "_blank", rel: "noopener" },
      element("img", { class: "photo", src: fileAt(id), width, height, alt: text ? "Photo" : "Photo without a caption" })));
  }
  if (text) {
    const entities = message.entities ?? message.caption_entities;
    parts.push(element("div", { class: "text" }, formatted(text, entities, onCommand)));
  }
  const when = new Date(message.date * 1000).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hour12: false });
  parts.push(element("time", {}, message.edit_date ? `${words(language).edited} ${when}` : when));
  return parts;
}

function bubble(chat, message) {
  const kind = ["bubble", message.edit_date && "edited", message.photo && !message.caption && "bare"].filter(Boolean).join(" ");
  const article = element("article", { class: message.from_bot ? "message" : "message mine" },
    element("div", { class: kind }, ...content(message, chat)));
  const rows = message.reply_markup?.inline_keyboard ?? [];
  if (rows.length) {
    article.append(element("div", { class: "keyboard" }, ...rows.map((row) =>
      element("div", {}, ...row.map((button) => key(chat, message.message_id, button))))));
  }
  return article;
}

const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 90;
const toEnd = () => { list.scrollTop = list.scrollHeight; };

export function refused(method, why) {
  const atEnd = isAtEnd();
  list.append(element("p", { class: "refusal", role: "alert" }, element("b", {}, `Telegram refused ${method}: `), why));
  if (atEnd) toEnd();
}

function separate(visible, language) {
  for (const old of list.querySelectorAll(".day")) old.remove();
  let last = "";
  for (const message of visible) {
    const now = day(message.date, language);
    if (now !== last) shown.get(message.message_id).node.before(element("p", { class: "day" }, now));
    last = now;
  }
}

// `chat` is its id, the person who looks at it, their language, what to say while it is empty, and onCommand.
export function showChat(chat, messages) {
  const atEnd = isAtEnd();
  const visible = messages.filter((one) => !one.deleted);
  const another = list.dataset.chat !== `${chat.person} ${chat.id}`;
  if (another) {
    list.dataset.chat = `${chat.person} ${chat.id}`;
    list.replaceChildren();
    shown.clear();
  }
  list.querySelector(".nothing")?.remove();
  const ids = new Set(visible.map((one) => one.message_id));
  for (const [id, { node }] of shown) {
    if (!ids.has(id)) {
      node.remove();
      shown.delete(id);
    }
  }
  let grew = false;
  for (const message of visible) {
    const signature = JSON.stringify(message);
    const before = shown.get(message.message_id);
    if (before?.signature === signature) continue;
    const node = bubble(chat, message);
    if (before) {
      const keys = [...before.node.querySelectorAll(".button")];
      const focused = keys.indexOf(document.activeElement);
      before.node.replaceWith(node);
      if (message.edits !== before.edits) node.querySelector(".bubble").classList.add("flash");
      if (focused >= 0) (node.querySelectorAll(".button")[focused] ?? list).focus({ preventScroll: true });
    } else {
      if (!another) {
        node.classList.add("fresh");
        node.addEventListener("animationend", () => node.classList.remove("fresh"));
      }
      list.append(node);
      grew = true;
    }
    shown.set(message.message_id, { node, signature, edits: message.edits });
  }
  separate(visible, chat.language);
  if (!visible.length) list.append(element("p", { class: "nothing" }, chat.welcome));
  if (grew) endToast();
  if (atEnd || grew) {
    toEnd();
    for (const picture of list.querySelectorAll("img")) if (!picture.complete) picture.addEventListener("load", toEnd, { once: true });
  }
}
