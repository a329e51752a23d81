// Links in the chat: the checkout opens over the chat, as in Telegram's own browser, so that the timeline stays in view.

import { hush } from "./chat.js";

const at = (id) => document.getElementById(id);
let opener = null;

export function openSheet(url, from = document.activeElement) {
  hush();
  opener = from;
  at("sheet-frame").src = url.href;
  at("sheet-tab").href = url.href;
  at("sheet-address").textContent = `CryptoCloud · ${url.host}${url.pathname}`;
  at("sheet").hidden = false;
  at("sheet-close").focus();
}

export function closeSheet() {
  if (at("sheet").hidden) return false;
  at("sheet").hidden = true;
  at("sheet-frame").removeAttribute("src");
  at("sheet-frame").src = "about:blank";
  if (opener?.isConnected) opener.focus();
  return true;
}

// `onStart` gets the payload of a deep link to the bot, `onInvite` the address of an invite link.
export function wireLinks({ onStart, onInvite }) {
  at("sheet-close").addEventListener("click", closeSheet);
  at("sheet-tab").addEventListener("click", closeSheet);
  window.addEventListener("message", (event) => {
    if (event.origin === location.origin && event.data === "close") closeSheet();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#messages a[href], #row a[href]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const url = new URL(link.href);
    const ours = url.origin === location.origin;
    if (ours && url.pathname.startsWith("/pay/")) openSheet(url, link);
    else if (ours && url.pathname.startsWith("/t/")) onStart(url.searchParams.get("start") ?? "");
    else if (url.host === "t.me" && url.pathname.startsWith("/+")) onInvite(url.href);
    else return;
    event.preventDefault();
  });
}
