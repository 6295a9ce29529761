// Helpers for all parts of the inspector.

const plain = (value) => String(Number(value.toFixed(6)));
const same = (a, b) => ["agreement", "confidence", "neighbors", "floor"].every((key) => a[key] === b[key]);
