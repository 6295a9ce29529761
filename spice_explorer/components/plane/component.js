// The entry point that Streamlit calls: one inspector per mount.

const inspectors = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  if (!inspectors.has(parentElement)) inspectors.set(parentElement, new Inspector(parentElement));
  const inspector = inspectors.get(parentElement);
  inspector.take(data, setStateValue);
  return () => {
    inspector.close();
    inspectors.delete(parentElement);
  };
}
