/** Square tables of weights on a canvas: who reads whom. Rows read, columns are read. */
import { useEffect, useRef } from 'preact/hooks';
import { themeColours, watchScheme } from './scheme.tsx';

/** Weights drawn in one color; a cell with several shows the largest. */
export interface HeatLayer {
  /** [T,T] */
  readonly weights: Float32Array;
  /** Index of a series color. */
  readonly series: number;
}

export interface HeatMapProps {
  /** Alternative text; empty if the text next to it says the same. */
  readonly title: string;
  /** T. */
  readonly length: number;
  readonly layers: readonly HeatLayer[];
  /** Edge of a cell in pixels. */
  readonly cell: number;
  /** The framed row. */
  readonly row?: number;
  /** Told the row that was clicked on; a choice by keyboard has to be somewhere else. */
  readonly onRow?: (row: number) => void;
}

export function HeatMap({ title, length, layers, cell, row, onRow }: HeatMapProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const target = canvas.current;
    if (target === null) return undefined;
    const draw = (): void => drawMap(target, length, layers, cell, row);
    draw();
    return watchScheme(draw);
  }, [length, layers, cell, row]);
  return (
    <canvas
      ref={canvas}
      class="heat-map"
      width={length * cell}
      height={length * cell}
      {...(title === '' ? { 'aria-hidden': true } : { role: 'img', 'aria-label': title })}
      onClick={
        onRow &&
        (({ currentTarget, offsetY }) =>
          onRow(Math.min(length - 1, Math.floor((offsetY / currentTarget.clientHeight) * length))))
      }
    />
  );
}

function drawMap(
  canvas: HTMLCanvasElement,
  length: number,
  layers: readonly HeatLayer[],
  cell: number,
  row: number | undefined,
): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const colour = themeColours(canvas);
  context.globalAlpha = 1;
  context.fillStyle = colour('--sunken');
  context.fillRect(0, 0, canvas.width, canvas.height);
  const most = layers.reduce((max, { weights }) => weights.reduce((m, w) => Math.max(m, Math.abs(w)), max), 0);
  for (let at = 0; at < length * length && most > 0; at++) {
    const { weight, series } = largestAt(layers, at);
    if (weight === 0) continue;
    const [x, y] = [(at % length) * cell, Math.floor(at / length) * cell];
    // Square roots keep small weights visible next to large ones.
    context.globalAlpha = 0.08 + 0.92 * Math.sqrt(Math.abs(weight) / most);
    context.fillStyle = colour(`--series-${series}`);
    context.fillRect(x, y, cell, cell);
    // A negative weight has a hole.
    if (weight < 0 && cell > 4) context.clearRect(x + cell / 3, y + cell / 3, cell / 3, cell / 3);
  }
  context.globalAlpha = 1;
  if (row === undefined) return;
  context.strokeStyle = colour('--text');
  context.lineWidth = Math.max(1, Math.min(2, cell / 4));
  context.strokeRect(0.5, row * cell + 0.5, canvas.width - 1, cell - 1);
}

function largestAt(layers: readonly HeatLayer[], at: number): { weight: number; series: number } {
  let found = { weight: 0, series: 0 };
  for (const { weights, series } of layers) {
    if (Math.abs(weights[at]) > Math.abs(found.weight)) found = { weight: weights[at], series };
  }
  return found;
}
