// The chat: bubbles that change in place, keyboards under them, toasts and alerts.

import { act } from "./api.js";
import { element, formatted, safeLink } from "./text.js";

const SPINNER_SECONDS = 15;
const list = document.getElementById("messages");
const toast = document.getElementById("toast");
const shown = new Map();
const pressed = new Map();
const answers = new Map();
let toastTimer = 0;

export function say(text) {
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("shown"), 3500);
}

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

async function press(chatId, messageId, data, button) {
  button.classList.add("waiting");
  try {
    const { press_id: id } = await act("press", { chat_id: chatId, message_id: messageId, data });
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

function key(chatId, messageId, button) {
  const looks = { class: "button", "data-style": button.style };
  if (button.url) {
    const href = safeLink(button.url);
    return element("a", { ...looks, class: "button link", href, target: "_blank", rel: "noopener" }, button.text);
  }
  if (button.copy_text) {
    const copy = () => navigator.clipboard.writeText(button.copy_text.text)
      .then(() => say("Copied"), () => say(button.copy_text.text));
    return element("button", { ...looks, type: "button", onclick: copy }, button.text);
  }
  const data = button.callback_data;
  const onclick = (event) => press(chatId, messageId, data, event.currentTarget);
  return element("button", { ...looks, type: "button", onclick, disabled: data == null }, button.text);
}

function content(message, onCommand) {
  const parts = [];
  if (message.document) {
    const href = `/control/files/${encodeURIComponent(message.document.file_id)}`;
    parts.push(element("a", { href }, `📎 ${message.document.file_name}`));
  }
  if (message.photo) parts.push(element("em", {}, "🖼 photo"));
  const text = message.text ?? message.caption ?? "";
  const entities = message.entities ?? message.caption_entities;
  parts.push(element("div", { class: "text" }, formatted(text, entities, onCommand)));
  const when = new Date(message.date * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  parts.push(element("time", {}, message.edit_date ? `edited ${when}` : when));
  return parts;
}

function bubble(chatId, message, onCommand) {
  const article = element("article", { class: message.from_bot ? "message" : "message mine" },
    element("div", { class: "bubble" }, ...content(message, onCommand)));
  const rows = message.reply_markup?.inline_keyboard ?? [];
  if (rows.length) {
    article.append(element("div", { class: "keyboard" }, ...rows.map((row) =>
      element("div", {}, ...row.map((button) => key(chatId, message.message_id, button))))));
  }
  return article;
}

export function showChat(chatId, messages, { onCommand, welcome }) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const visible = messages.filter((one) => !one.deleted);
  if (list.dataset.chat !== String(chatId)) {
    list.dataset.chat = chatId;
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
    const node = bubble(chatId, message, onCommand);
    if (before) {
      const keys = [...before.node.querySelectorAll(".button")];
      const focused = keys.indexOf(document.activeElement);
      before.node.replaceWith(node);
      if (focused >= 0) node.querySelectorAll(".button")[focused]?.focus();
    } else {
      list.append(node);
      grew = true;
    }
    shown.set(message.message_id, { node, signature });
  }
  if (!visible.length) list.append(element("p", { class: "nothing" }, welcome));
  if (atEnd || grew) list.scrollTop = list.scrollHeight;
}
