// The payment's row and the subscription, as they stand in the bot's database; read from outside.

import { read } from "./api.js";
import { element } from "./text.js";

const SHOWN = 2;
const box = document.getElementById("row");
let found = null;

const short = (moment) => new Date(moment).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });

function away(state) {
  return state === "none" ? "This sandbox runs without a bot, so there is no database." : "The bot's database is not there: start the bot.";
}

function look(row) {
  if (!row.next_check_at) return row.status === "creating" ? "" : "no more looks";
  const seconds = Math.ceil((new Date(row.next_check_at) - Date.now()) / 1000);
  if (seconds <= 0) return "looking…";
  const [size, unit] = [[86_400, "days"], [3600, "h"], [60, "min"], [1, "s"]].find(([one]) => seconds >= 2 * one) ?? [1, "s"];
  return `next look in ${Math.round(seconds / size)} ${unit}`;
}

function payment(row) {
  const flags = ["overpaid", "late", "review"].filter((name) => row[name]).map((name) => element("span", { class: "pill partial" }, name));
  const invoice = row.invoice_uuid && element("a", { href: `/pay/${row.invoice_uuid}`, target: "_blank", rel: "noopener" }, `INV-${row.invoice_uuid}`);
  return element("div", { class: "payment" },
    element("span", { class: `pill ${row.status}` }, row.status),
    element("b", {}, `${row.tier} · ${row.period}`), element("b", {}, `${Number(row.amount).toFixed(2)} ${row.currency}`),
    element("span", { class: "where" }, invoice || (row.status === "failed" ? "no invoice" : "no invoice yet"), ...flags, element("span", { "data-row": row.id }, look(row))));
}

function show() {
  if (!found) return;
  if (found.state !== "watching" && !found.payments.length) return box.replaceChildren(element("p", { class: "empty" }, away(found.state)));
  const parts = found.payments.slice(0, SHOWN).map(payment);
  const { subscription } = found;
  if (subscription) {
    const days = subscription.ends_at ? (new Date(subscription.ends_at) - Date.now()) / 86_400_000 : 0;
    const until = !subscription.ends_at ? "" : days > 0 ? ` until ${short(subscription.ends_at)}, ${Math.ceil(days)} days` : `, ended ${short(subscription.ends_at)}`;
    parts.push(element("p", { class: "subscription" }, "Subscription: ", element("b", {}, subscription.tier), until));
  }
  if (found.state !== "watching") parts.push(element("p", { class: "empty" }, away(found.state)));
  box.replaceChildren(...(parts.length ? parts : [element("p", { class: "empty" }, "No payment in the database yet.")]));
}

export async function loadRow(person) {
  found = await read(`rows/${person}`);
  show();
}

setInterval(() => {
  for (const row of found?.payments ?? []) {
    const line = box.querySelector(`[data-row="${row.id}"]`);
    if (line) line.textContent = look(row);
  }
}, 500);
