// The entry point that Streamlit calls: one map per mount.

const maps = new WeakMap();

export default function ({ data, parentElement, setStateValue, setTriggerValue }) {
  if (!maps.has(parentElement)) maps.set(parentElement, new ImageMap(parentElement));
  const map = maps.get(parentElement);
  map.take(data, (name, value) => (name === "opened" ? setTriggerValue : setStateValue)(name, value));
  return () => {
    map.close();
    maps.delete(parentElement);
  };
}
