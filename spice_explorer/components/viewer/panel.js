// The picture of the image panel: small, with its facts; large in a dialog, where it can be zoomed.

class PanelPicture {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.small = part(root, ".enlarge");
    /** @type {HTMLDialogElement} */
    this.dialog = part(root, "dialog");
    this.board = part(root, ".viewer");
    this.viewer = new Viewer(this.board);
    this.facts = new Facts(part(root, ".facts"), ({ fit }) => this.viewer.cutBy(fit));
    this.originals = new Originals(() => this.improve());
    this.root = part(root, ".beside");
    this.title = part(root, ".large-bar b");
    this.small.addEventListener("click", () => this.open());
    part(root, ".shut").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("keydown", (e) => this.type(e));
  }

  /** @param {{ name: string, thumb: string, full: string, facts: string, sharp: boolean }} data */
  take(data) {
    this.root.classList.toggle("sharp", data.sharp);
    if (this.data?.thumb === data.thumb) return;
    this.data = data;
    this.shown = undefined;
    this.title.textContent = data.name;
    this.small.setAttribute("aria-label", `Enlarge ${data.name}`);
    this.small.replaceChildren(this.picture());
    this.viewer.show(this.picture());
    this.facts.show(data.facts);
    this.improve();
  }

  picture() {
    const { name, thumb } = this.data;
    const image = make("img", { alt: name, draggable: false });
    image.onerror = () => {
      image.alt = "picture missing";
    };
    image.src = thumb;
    return image;
  }

  improve() {
    const original = this.originals.want(this.data.full);
    if (!original?.image) return;
    this.viewer.improve(original);
    const { alt } = this.viewer.thumb;
    if (this.shown === original) return;
    this.shown = original;
    this.small.replaceChildren(make("img", { alt, src: original.image.src, draggable: false }));
  }

  open() {
    this.dialog.showModal();
    this.viewer.do("fit");
    this.board.focus();
  }

  // Otherwise Escape would also close the panel, and other keys would act on the page below.
  type(e) {
    e.stopPropagation();
    if (holder(e, "button") && [" ", "Enter"].includes(e.key)) return;
    if (this.viewer.type(e)) e.preventDefault();
  }

  close() {
    this.viewer.watcher.disconnect();
    this.facts.clear();
    this.originals.clear();
  }
}
