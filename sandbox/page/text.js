// A message's text as DOM, built from Telegram's entities. Offsets count UTF-16 units, as JavaScript's strings do.

const TAGS = {
  bold: "b", italic: "i", underline: "u", strikethrough: "s", code: "code", pre: "pre",
  blockquote: "blockquote", expandable_blockquote: "blockquote",
};

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function safeLink(url) {
  try {
    const parsed = new URL(url.includes("://") || url.startsWith("mailto:") ? url : `https://${url}`);
    return ["http:", "https:", "mailto:", "tg:"].includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}

function wrap(entity, text, content, onCommand) {
  if (TAGS[entity.type]) return element(TAGS[entity.type], {}, content);
  if (entity.type === "spoiler") {
    const reveal = (event) => event.currentTarget.classList.add("seen");
    return element("span", { class: "spoiler", onclick: reveal }, content);
  }
  if (entity.type === "bot_command") {
    return element("button", { type: "button", class: "command", onclick: () => onCommand(text) }, content);
  }
  const address = entity.type === "text_link" ? entity.url : entity.type === "url" ? text : null;
  const href = address && safeLink(address);
  return href ? element("a", { href, target: "_blank", rel: "noopener noreferrer" }, content) : content;
}

export function formatted(text, entities, onCommand, from = 0, to = text.length) {
  const fragment = document.createDocumentFragment();
  const inside = (entities || []).filter((one) => one.offset >= from && one.offset + one.length <= to);
  let at = from;
  let index = 0;
  while (index < inside.length) {
    const entity = inside[index];
    const end = entity.offset + entity.length;
    if (entity.offset < at) {
      index += 1;
      continue;
    }
    fragment.append(text.slice(at, entity.offset));
    const rest = inside.slice(index + 1);
    fragment.append(wrap(entity, text.slice(entity.offset, end),
      formatted(text, rest, onCommand, entity.offset, end), onCommand));
    at = end;
    index += 1;
  }
  fragment.append(text.slice(at, to));
  return fragment;
}
