"""When pictures are painted in the browser: decoded, and in a frame that has been drawn, not merely asked for.

A canvas is painted in the frame in which it was drawn to. An image may be decoded after that frame, by another
thread, so its `decode()` is waited for; and then for the start of the next frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Beside `browser.SCRIPT`, whose `deep` and `deepAll` the tests may use.
SCRIPT = """
window.inWindow = (one) => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
};
window.painted = (event, tests) => {
  let began;
  addEventListener(event, (e) => { began = e.timeStamp; }, { capture: true, once: true });
  const last = performance.now() + 60000;
  const until = (text) => new Promise((resolve, reject) => {
    const test = new Function(`return ${text}`);
    const look = () => {
      const found = began !== undefined && test();
      if (found) resolve(found);
      else if (performance.now() > last) reject(new Error(`not within a minute of ${event}: ${text}`));
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  const drawn = async (found) => {
    if (found instanceof HTMLImageElement) {
      await found.decode();
      await new Promise(requestAnimationFrame);
    }
    await new Promise(requestAnimationFrame);
    return performance.now() - began;
  };
  const all = async () => {
    const each = [];
    for (const text of tests) each.push(drawn(await until(text)));
    return Promise.all(each);
  };
  window.painting = all();
};
"""


def painted(page: Page, event: str, tests: Sequence[str], act: Callable[[], object]) -> list[float]:
    """Milliseconds from the `event` that `act` causes until each of `tests` is true, one after the other, and painted.

    A test is an expression in JavaScript. If its value is an image, that is decoded, too. SCRIPT must have been
    added to the page before it was opened.
    """
    page.evaluate("([event, tests]) => painted(event, tests)", [event, list(tests)])
    act()
    return [float(one) for one in page.evaluate("painting")]
