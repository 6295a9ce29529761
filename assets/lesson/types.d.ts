// What the checker cannot see for itself: fields of the bundle, as engine/runs/lesson.py makes it, and what figures
// hang on their elements.

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
