// The side panel: invoices, CryptoCloud's switches, the bot's process.

import { act } from "./api.js";
import { say } from "./chat.js";
import { element } from "./text.js";

const SHOWN_INVOICES = 20;
const at = (id) => document.getElementById(id);

async function attempt(path, body) {
  try {
    return await act(path, body);
  } catch (error) {
    say(error.message);
    return null;
  }
}

function invoiceCard(invoice, modes, chosen) {
  const id = invoice.uuid.replace("INV-", "");
  const open = ["created", "partial"].includes(invoice.status);
  const settled = ["paid", "overpaid"].includes(invoice.status);
  const code = invoice.currency.code;
  const mode = element("select", { "aria-label": "Notification" },
    ...Object.keys(modes).map((name) => element("option", { value: name, selected: name === chosen }, name)));
  const pay = (amount) => attempt(`invoices/${id}/pay`, { amount, postback: { mode: mode.value } });
  const part = (invoice.to_surcharge / 2).toFixed(2);
  const buttons = settled
    ? [["Send the notification", () => attempt(`invoices/${id}/postback`, { mode: mode.value })]]
    : [
        [invoice.amount_paid ? "Pay the rest" : "Pay", () => pay(null)],
        ...(open ? [[`Pay ${part}`, () => pay(part)], ["Expire", () => attempt(`invoices/${id}/expire`)]] : []),
      ];
  const paid = invoice.amount_paid ? ` · paid ${invoice.amount_paid} of ${invoice.amount_to_pay} ${code}` : "";
  return element("article", { class: "invoice" },
    element("header", {},
      element("b", {}, `${invoice.amount_in_fiat.toFixed(2)} ${invoice.fiat_currency}`),
      element("a", { href: `/pay/${id}`, target: "_blank", rel: "noopener" }, "checkout"),
      element("span", { class: `pill ${invoice.status}` }, invoice.status)),
    element("small", {}, `${invoice.uuid} · order ${invoice.order_id ?? "–"}${paid}`),
    element("div", { class: "row" },
      ...buttons.map(([label, onclick]) => element("button", { type: "button", class: "small", onclick }, label))),
    mode);
}

export function showInvoices(invoices, state) {
  const box = at("invoices");
  if (box.contains(document.activeElement) && document.activeElement.tagName === "SELECT") document.activeElement.blur();
  const { postback } = state.project;
  const cards = invoices.slice(0, SHOWN_INVOICES)
    .map((one) => invoiceCard(one, state.words.postback_modes, postback.mode));
  box.replaceChildren(...(cards.length ? cards : [element("p", { class: "empty" }, "None yet: buy something in the chat.")]));
}

export function showPostbacks(entries) {
  const items = entries.slice(-8).reverse().map((one) =>
    element("li", { title: one.answer || "" },
      element("span", {}, `${one.invoice} · ${one.mode}`),
      element("b", {}, one.status == null ? (one.mode === "none" ? "lost" : "no answer") : String(one.status))));
  at("postbacks").replaceChildren(...(items.length ? items : [element("li", { class: "empty" }, "None yet.")]));
}

export function showProject({ project, words }) {
  const mode = at("mode");
  if (!mode.options.length) {
    mode.append(...Object.entries(words.postback_modes).map(([name, meaning]) =>
      element("option", { value: name }, `${name}: ${meaning}`)));
  }
  mode.value = project.postback.mode;
  at("format").value = project.postback.format;
  at("test-mode").checked = project.test_mode;
}

export function showProcess(process) {
  const state = process?.state ?? "none";
  at("process").textContent = {
    ready: "bot is ready", starting: "bot is starting", stopped: "bot is stopped",
    dead: `bot died, code ${process?.exit_code}`, none: "no bot of its own",
  }[state];
  at("process").className = `pill ${state}`;
  at("kill").hidden = !["ready", "starting"].includes(state);
  at("start").hidden = !["dead", "stopped"].includes(state);
  const lines = at("lines");
  const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
  lines.textContent = (process?.lines ?? []).join("\n");
  if (atEnd) lines.scrollTop = lines.scrollHeight;
}

export function wirePanel() {
  at("mode").addEventListener("change", (event) => attempt("project", { postback: { mode: event.target.value } }));
  at("format").addEventListener("change", (event) => attempt("project", { postback: { format: event.target.value } }));
  at("test-mode").addEventListener("change", (event) => attempt("project", { test_mode: event.target.checked }));
  at("kill").addEventListener("click", () => attempt("bot/kill"));
  at("start").addEventListener("click", () => attempt("bot/start"));
  for (const button of document.querySelectorAll("[data-jump]")) {
    button.addEventListener("click", () => attempt("jump", { seconds: Number(button.dataset.jump) }));
  }
}
