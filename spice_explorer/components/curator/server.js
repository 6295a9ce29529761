// Server: the curation routes. Errors become sentences for the user.

const PATIENCE_MS = 20000;

// The server rejected the request: sending it again is useless.
class Refusal extends Error {}

async function ask(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch {
    throw new Error("the server does not respond");
  }
  if (answer.ok) return answer;
  throw await complaint(answer);
}

// The error message in an answer. Only the app sends JSON; other answers may come from a proxy.
async function complaint(answer) {
  const { status } = answer;
  const kind = answer.headers.get("content-type") ?? "";
  const body = await answer.text();
  if (kind.startsWith("text/plain") && body) return new Error(body);
  try {
    const { error } = JSON.parse(body);
    const passing = status >= 500 || [408, 429].includes(status);
    return new (passing ? Error : Refusal)(error);
  } catch {
    return new Error(`the server returned ${status}`);
  }
}

class Server {
  /** @param {string} api */
  constructor(api) {
    this.api = api;
  }

  // Class, state and provenance of all n images, and the last row of the log that they include.
  async images(n) {
    const answer = await ask(`${this.api}/images.bin`, { cache: "no-store" });
    const bytes = await answer.arrayBuffer();
    if (bytes.byteLength !== 4 * n) throw new Error("the images have changed: reload the page");
    return { row: Number(answer.headers.get("X-Spice-Row")), bytes };
  }

  async since(row, reviewer) {
    const asked = new URLSearchParams({ row, reviewer });
    const answer = await ask(`${this.api}/since?${asked}`, { cache: "no-store" });
    return answer.json();
  }

  async suggested(ids) {
    const answer = await ask(`${this.api}/suggested?ids=${ids.join()}`, { cache: "no-store" });
    return answer.json();
  }

  async act(body) {
    const headers = { "content-type": "application/json" };
    const answer = await ask(`${this.api}/act`, { method: "POST", headers, body: JSON.stringify(body) });
    return answer.json();
  }
}

// The values of a column. Its URL changes with its content, so the browser may cache it.
async function column({ url }, Kind) {
  return new Kind(await (await ask(url)).arrayBuffer());
}
