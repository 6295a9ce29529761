// Types that the checker cannot infer: fields of the bundle, as engine/lesson/build.py writes it, and properties
// that figures add to their elements.

// assets/palette.json.
declare const PALETTE: { clusters: string[]; nobody: string; verdicts: string[] };

interface Bundle {
  run: string;
  ids: any;
  names?: string[];
  images: number;
  clusters: number;
  steps: any[];
  frames: any[];
  curves: any[];
  quiz?: any;
  xray?: any;
  looked?: { image: number; frame: number };
}

interface HTMLElement {
  close?(): void;
  film?: Film;
  at?: number;
  move?(share: number): void;
}
