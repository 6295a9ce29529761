// The rule: the verdict on every image for any pair of thresholds, and what training takes besides. It must agree with
// the engine (engine/stages/reliable.judge and ReliableSet.strict), so it uses the same precision.

class Judge {
  /**
   * @param {Uint16Array} labels
   * @param {Float32Array} confidence
   * @param {number} clusters
   */
  constructor(labels, confidence, clusters) {
    this.labels = labels;
    this.confidence = confidence;
    this.clusters = clusters;
    this.sizes = new Uint32Array(clusters);
    for (let i = 0; i < labels.length; i++) this.sizes[labels[i]]++;
  }

  // Counts images by cluster and number of agreeing neighbours, confident ones separately.
  tally(agreed, count, threshold) {
    if (this.agreed === agreed && this.threshold === threshold) return;
    this.agreed = agreed;
    this.count = count;
    this.threshold = threshold;
    const { labels, confidence, clusters } = this;
    const width = count + 1;
    const least = Math.fround(threshold);
    this.sure = new Uint32Array(clusters * width);
    this.unsure = new Uint32Array(clusters * width);
    for (let i = 0; i < labels.length; i++) {
      (confidence[i] >= least ? this.sure : this.unsure)[labels[i] * width + agreed[i]]++;
    }
  }

  // The fewest of `count` neighbours whose share is at least `agreement`.
  static need(agreement, count) {
    const least = Math.fround(agreement);
    let need = 0;
    while (need < count && Math.fround(need / count) < least) need++;
    return need;
  }

  // The number of images of each verdict (K × 4), their sums, the neighbours that training asks of each cluster so that
  // it keeps its minimum share, and the images (K) that only this lets pass.
  verdict({ agreement, floor }) {
    const { clusters, count, sizes, sure, unsure } = this;
    const width = count + 1;
    const plain = Judge.need(agreement, count);
    const table = new Uint32Array(4 * clusters);
    const needs = new Uint16Array(clusters);
    const relaxed = new Uint32Array(clusters);
    const total = [0, 0, 0, 0];
    for (let k = 0; k < clusters; k++) {
      const need = Math.min(plain, this.lowest(k, Math.ceil(floor * sizes[k])));
      needs[k] = need;
      for (let m = 0, at = k * width; m <= count; m++, at++) {
        const disagree = m < plain ? 1 : 0;
        if (disagree && m >= need) relaxed[k] += sure[at];
        table[4 * k + disagree] += sure[at];
        table[4 * k + 2 + disagree] += unsure[at];
      }
      for (let v = 0; v < 4; v++) total[v] += table[4 * k + v];
    }
    return { table, needs, relaxed, total, plain };
  }

  // The number of agreeing neighbours at which a cluster keeps `wanted` of its confident images.
  lowest(cluster, wanted) {
    if (!wanted) return this.count;
    const start = cluster * (this.count + 1);
    let kept = 0;
    let last = this.count;
    for (let m = this.count; m >= 0; m--) {
      if (!this.sure[start + m]) continue;
      last = m;
      kept += this.sure[start + m];
      if (kept >= wanted) return m;
    }
    return last;
  }
}
