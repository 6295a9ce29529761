// The door by which Streamlit comes in: one inspector for each place on the page.

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
