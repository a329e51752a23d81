// The sandbox's control API and its stream of changes.

export class Refused extends Error {}

async function call(path, options) {
  const response = await fetch(`/control/${path}`, { credentials: "same-origin", ...options });
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = { error: text || response.statusText };
  }
  if (!response.ok) throw new Refused(answer.error || response.statusText);
  return answer;
}

export const read = (path) => call(path, {});

export const act = (path, body = {}) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export function watch(onChange, onLost) {
  const source = new EventSource("/control/events");
  source.onmessage = (event) => onChange(JSON.parse(event.data));
  source.onerror = onLost;
}
