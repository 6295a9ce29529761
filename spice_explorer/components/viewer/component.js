// The entry point that Streamlit calls: one picture per mount.

const pictures = new WeakMap();

export default function ({ data, parentElement }) {
  if (!pictures.has(parentElement)) pictures.set(parentElement, new PanelPicture(parentElement));
  const picture = pictures.get(parentElement);
  picture.take(data);
  return () => {
    picture.close();
    pictures.delete(parentElement);
  };
}
