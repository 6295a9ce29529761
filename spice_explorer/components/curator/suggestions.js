// Suggestions: what the answers so far say about the next images. The server learns in the background, and says up to
// which row of the log; the suggestions of the current image and of the next ones are fetched then.

const REST_MS = 3000;

class Suggestions {
  /**
   * @param {Server} server
   * @param {() => void} come called when suggestions have come
   */
  constructor(server, come) {
    this.server = server;
    this.come = come;
    this.known = new Map();
    this.learned = 0;
    this.resting = 0;
  }

  /** @param {number} learned the row up to which the server has learned; 0 if it has not */
  follow(learned) {
    if (!learned) this.known.clear();
    this.learned = learned;
  }

  /** @returns {{class: number, sure: number, since: number} | undefined} the last that is known */
  of(id) {
    return this.known.get(id);
  }

  // Fetches what is missing or was learned from fewer answers.
  async want(ids) {
    const { learned } = this;
    if (!learned || this.asking || performance.now() < this.resting) return;
    const missing = ids.filter((id) => !(this.known.get(id)?.learned >= learned));
    if (!missing.length) return;
    this.asking = true;
    try {
      this.take(await this.server.suggested(missing));
    } catch {
      this.resting = performance.now() + REST_MS; // they are an offer: the work goes on without
    }
    this.asking = false;
    this.come();
  }

  take({ learned, ids, classes, confidence }) {
    if (!this.learned) return; // taken back meanwhile
    const now = performance.now();
    ids.forEach((id, i) => {
      const before = this.known.get(id);
      const since = before?.class === classes[i] ? before.since : now;
      this.known.set(id, { class: classes[i], sure: confidence[i], learned, since });
    });
  }
}
