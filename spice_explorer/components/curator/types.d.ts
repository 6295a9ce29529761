interface Window {
  // The name of this tab.
  spiceVisit?: string;
}
