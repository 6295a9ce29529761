// The entry point that Streamlit calls: one gallery per mount.

const galleries = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  if (!galleries.has(parentElement)) galleries.set(parentElement, new Gallery(parentElement));
  galleries.get(parentElement).take(data, {
    page: (value) => setStateValue("page", value),
    pixels: (value) => setStateValue("pixels", value),
    open: (value) => setTriggerValue("open", value),
    ask: (value) => setTriggerValue("ask", value),
  });
  return () => {
    galleries.get(parentElement)?.close();
    galleries.delete(parentElement);
  };
}
