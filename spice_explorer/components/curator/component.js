// The entry point that Streamlit calls: one curator per mount.

const curators = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  if (!curators.has(parentElement)) curators.set(parentElement, new Curator(parentElement));
  const curator = curators.get(parentElement);
  curator.take(data, (name, value) => (name === "changed" ? setStateValue : setTriggerValue)(name, value));
  return () => {
    curator.close();
    curators.delete(parentElement);
  };
}
