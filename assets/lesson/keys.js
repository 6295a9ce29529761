// Keys: the keyboard shortcuts, on the page and in presenter mode.

const KEYS = [
  ["→ ←", "next step, previous step"],
  ["1 – 9", "that step"],
  ["Q", "the quiz"],
  ["0", "the whole run"],
  ["Home End", "first, last"],
  ["↑ ↓", "the control"],
  ["W", "what goes wrong"],
  ["Space", "play and pause"],
  [", .", "previous frame, next frame"],
  ["S", "speed"],
  ["P F", "presenter mode; F fills the screen"],
  ["Esc", "leave it"],
  ["?", "these keys"],
];

const typing = (target) =>
  target.matches?.("textarea, select, [contenteditable='true'], input:not([type=range], [type=checkbox])");

function helpOf(close) {
  const rows = KEYS.flatMap(([keys, words]) => [
    make(
      "dt",
      {},
      ...keys
        .split(" ")
        .filter((one) => one !== "–" || keys === "–")
        .map((key) => text("kbd", "", key)),
    ),
    text("dd", "", words),
  ]);
  const box = make(
    "div",
    { className: "help", hidden: true },
    make("div", {}, text("h3", "", "Keys"), make("dl", {}, ...rows), button("Close", close)),
  );
  box.setAttribute("role", "dialog");
  box.setAttribute("aria-label", "Keys");
  return box;
}
