// Place: the image at which this browser left a queue, for a reload and for the way back from another page.

const PLACE_MEMORY = "spice-curator-place";

class Place {
  /**
   * @param {string} key the run and its state
   * @param {Queue} queue
   */
  keep(key, queue) {
    if (this.queue === queue && this.at === queue.at) return;
    this.queue = queue;
    this.at = queue.at;
    memory.set(PLACE_MEMORY, { key, queue: queue.name, image: queue.current });
  }

  // The image as a list, which is empty if another queue was left last.
  of(key, name) {
    const left = memory.get(PLACE_MEMORY);
    return left?.key === key && left.queue === name ? [left.image] : [];
  }
}
