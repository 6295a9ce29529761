// Tiles: a row or a grid of thumbnails, only for the images that are shown.

const STATES = [
  { name: "undecided", mark: "", words: "undecided" },
  { name: "decided", mark: "✓", words: "decided" },
  { name: "rejected", mark: "✕", words: "rejected: the class is wrong" },
  { name: "excluded", mark: "–", words: "left out" },
];

// What has been decided about an image, and who gave a decided label.
function stateWords(state, whoSaid) {
  return [STATES[state].words, whoSaid].filter(Boolean).join(" · ");
}

class Tiles {
  /**
   * @param {HTMLElement} root
   * @param {Pictures} pictures
   * @param {(place: number, event: MouseEvent) => void} onPress
   */
  constructor(root, pictures, onPress) {
    this.root = root;
    this.pictures = pictures;
    this.tiles = [];
    root.addEventListener("click", (e) => {
      const place = this.tiles.indexOf(holder(e, ".tile"));
      if (place >= 0) onPress(this.first + place, e);
    });
    // Shift-click would select text.
    root.addEventListener("mousedown", (e) => {
      if (e.shiftKey) e.preventDefault();
    });
  }

  // Draws images `ids`, the first of which is at place `first` of the queue; `about(id)` gives its facts.
  draw(first, ids, current, marks, about) {
    this.first = first;
    const kept = new Map(this.tiles.map((tile) => [tile.dataset.address, tile]));
    const tiles = Array.from(ids, (id) => kept.get(this.pictures.thumb(id)) ?? this.tile(id));
    if (tiles.length !== this.tiles.length || tiles.some((tile, i) => tile !== this.tiles[i])) {
      this.root.replaceChildren(...tiles);
    }
    this.tiles = tiles;
    for (const [i, tile] of tiles.entries()) {
      this.dress(tile, ids[i], ids[i] === current, marks.has(ids[i]), about(ids[i]));
    }
  }

  tile(id) {
    const picture = make("img", { alt: "", draggable: false, src: this.pictures.thumb(id) });
    const tile = make("div", { className: "tile", id: `${this.root.classList[0]}-${id}` });
    tile.dataset.address = this.pictures.thumb(id);
    tile.dataset.id = id;
    tile.setAttribute("role", "option");
    picture.onerror = () => tile.classList.add("missing");
    const check = make("span", { className: "check", title: "Mark" });
    const frame = make("div", { className: "frame" }, picture, check, make("span", { className: "mark" }));
    tile.append(frame, make("div", { className: "caption" }));
    return tile;
  }

  // Called after every key press: leaves alone what has not changed.
  dress(tile, id, current, marked, { state, whoSaid, disputed, name, colour }) {
    const text = [state, whoSaid, disputed, name, colour, current, marked].join("\n");
    if (tile.dataset.text === text) return;
    tile.dataset.text = text;
    const { name: kind, mark } = STATES[state];
    tile.className = `tile ${kind} ${whoSaid}`;
    tile.classList.toggle("disputed", disputed);
    tile.classList.toggle("current", current);
    tile.classList.toggle("marked", marked);
    tile.setAttribute("aria-selected", String(marked));
    tile.title = `Image ${id} · ${name} · ${disputed ? "disputed" : stateWords(state, whoSaid)}`;
    tile.setAttribute("aria-label", tile.title);
    tile.querySelector(".mark").textContent = disputed ? "!" : mark;
    tile.querySelector(".frame").style.borderBottomColor = colour;
    tile.querySelector(".caption").textContent = name;
  }
}
