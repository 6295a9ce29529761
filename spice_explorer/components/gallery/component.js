// The door by which Streamlit comes in: one gallery for each place on the page.

const galleries = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  if (!galleries.has(parentElement)) galleries.set(parentElement, new Gallery(parentElement));
  galleries.get(parentElement).take(data, {
    page: (value) => setStateValue("page", value),
    open: (value) => setTriggerValue("open", value),
    ask: (value) => setTriggerValue("ask", value),
  });
  return () => galleries.delete(parentElement);
}
