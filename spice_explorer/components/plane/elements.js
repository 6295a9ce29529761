// Small things that all parts of the instrument use.

const plain = (value) => String(Number(value.toFixed(6)));
const same = (a, b) => ["agreement", "confidence", "neighbors", "floor"].every((key) => a[key] === b[key]);
