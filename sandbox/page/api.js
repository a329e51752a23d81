// The sandbox's control API and its stream of changes.

export class Refused extends Error {}

async function call(path, options) {
  let response;
  try {
    response = await fetch(`/control/${path}`, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused("The sandbox does not answer: is it still running?");
  }
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

// Gathers many changes into one look.
export function soon(work, delay, onTrouble) {
  let timer = 0;
  return () => {
    if (!timer) timer = setTimeout(() => { timer = 0; work().catch(onTrouble); }, delay);
  };
}
