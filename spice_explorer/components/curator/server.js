// Server: the routes of the curation, as bytes and as answers. What goes wrong becomes a sentence.

const PATIENCE_MS = 20000;

// The server has understood, and says no: to ask again would be of no use.
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

// What is wrong by an answer's own words. Only the app says it in JSON: anybody else may be passing.
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

  // Class and state of all n images, and the row of the log up to which they are right.
  async images(n) {
    const answer = await ask(`${this.api}/images.bin`, { cache: "no-store" });
    const bytes = await answer.arrayBuffer();
    if (bytes.byteLength !== 3 * n) throw new Error("the images have changed: reload the page");
    return { row: Number(answer.headers.get("X-Spice-Row")), bytes };
  }

  async since(row, reviewer) {
    const asked = new URLSearchParams({ row, reviewer });
    const answer = await ask(`${this.api}/since?${asked}`, { cache: "no-store" });
    return answer.json();
  }

  async act(body) {
    const headers = { "content-type": "application/json" };
    const answer = await ask(`${this.api}/act`, { method: "POST", headers, body: JSON.stringify(body) });
    return answer.json();
  }
}

// The array of a column. Its address changes with its content, so that the browser may keep it.
async function column({ url }, Kind) {
  return new Kind(await (await ask(url)).arrayBuffer());
}
