// What engine/report/points.py packs.

interface Packed {
  dtype: string;
  data: string;
}

interface MapData {
  points: Packed;
  classes: Packed;
  verdicts?: Packed;
  legend: { name: string; colour: string }[];
  reasons: { name: string; colour: string }[];
  pictured: Packed;
  names: string[];
  sprite?: { data: string; columns: number; width: number; height: number };
}
