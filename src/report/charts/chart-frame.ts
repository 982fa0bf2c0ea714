/** The parts around the plot of a chart: title, legend, axes. Charts are drawn wide, and once more for narrow pages. */
import type { ChartAxis, ChartBase } from './chart-description.ts';
import { Chart } from './chart-renderer.ts';
import { CHART_INK, CHART_TEXT, estimateTextWidth, seriesStyle } from './chart-style.ts';
import type { Scale } from './scale.ts';
import { type Point, stroke, type SvgElement, writing } from './svg-element.ts';

const DEFAULT_WIDTH = 720;
const DEFAULT_HEIGHT = 360;
/** Width of the drawing for narrow pages: a phone of 390 pixels without its margins. */
const NARROW_WIDTH = 350;
const NARROW_HEIGHT = 300;
const TITLE_LINE = 20;
/** Width ratio of bold to regular letters. */
const BOLD = 1.12;
const TEXT_LINE = 15;
/** Pixels between neighboring tick labels. */
const LABEL_GAP = 10;
/** Pixels of a legend: between items, of an icon, of a row. */
const LEGEND = { gap: 14, icon: 24, row: 22 } as const;

/** An axis: its name, and labels at shares of its length, from the left or from the top. */
interface FrameAxis {
  readonly name?: string;
  readonly labels: readonly { readonly share: number; readonly text: string }[];
  /** Category axes show all labels, on several lines if needed; number axes leave out labels without room. */
  readonly isCategory?: boolean;
  readonly hasGrid?: boolean;
}

/** A plot with legend and axes, for one width. */
export interface View {
  /** Names for the legend, which a single one does not need, and the icons before them. */
  readonly names: readonly string[];
  readonly icon: (at: number, x: number, y: number) => readonly SvgElement[];
  readonly across: FrameAxis;
  /** Its name stands on top of the plot. */
  readonly up: FrameAxis;
  /** Pixels to the right of the plot. */
  readonly right?: number;
  /** Most pixels of the labels of `up`. Default 200. */
  readonly labelWidth?: number;
  /** Clips the plot at the axes. */
  readonly isCut?: boolean;
  /** Draws the lines of the axes. Default true. */
  readonly hasLines?: boolean;
  /** Pixels; default: the chart's height. */
  readonly height?: number;
  /** @param place the pixels of two shares, from the left and from the top of the plot */
  readonly plot: (place: Place) => readonly SvgElement[];
}

export type Place = (across: number, down: number) => Point;

/** Draws a chart for wide and for narrow pages. @param view the plot at a width; `narrow` has little room */
export function drawChart(chart: ChartBase, view: (room: 'wide' | 'narrow', width: number) => View): Chart {
  const { width = DEFAULT_WIDTH, height = DEFAULT_HEIGHT } = chart;
  const [wide, narrow] = [view('wide', width), view('narrow', NARROW_WIDTH)];
  const axes = [wide.up.name, wide.across.name].filter((name) => name !== undefined).join(' against ');
  const description = chart.description ?? chart.title ?? axes;
  const draw = (drawn: View, pixels: number, tall: number, other?: Chart): Chart =>
    Chart.draw(framed(chart.title, drawn, pixels, tall).elements, { width: pixels, height: tall, description }, other);
  return draw(wide, width, wide.height ?? height, draw(narrow, NARROW_WIDTH, narrow.height ?? NARROW_HEIGHT));
}

/** A plot with its frame, from the top: title, legend, name of the upward axis, plot, labels and name of the other axis. */
export function framed(
  title: string | undefined,
  view: View,
  width: number,
  height: number,
): { readonly elements: readonly SvgElement[]; readonly left: number; readonly right: number } {
  const { names, across, up } = view;
  const elements: SvgElement[] = [];
  let top = 0;
  if (title !== undefined) {
    const style = { fontSize: CHART_TEXT.title, ink: CHART_INK.text, anchor: 'start', weight: 600 } as const;
    const lines = wrapped(title, width, BOLD * CHART_TEXT.title);
    elements.push(...lines.map((line, at) => writing(line, 0, 9 + at * TITLE_LINE, style)));
    top += 8 + TITLE_LINE * lines.length;
  }
  if (names.length > 1) {
    const { items, bottom } = legend(view, width, top);
    elements.push(...items);
    top = bottom + 6;
  }
  if (up.name !== undefined) {
    elements.push(writing(up.name, 0, top + 6, { ink: CHART_INK.muted, anchor: 'start' }));
    top += 22;
  }
  top += 7; // half of the topmost label
  const linesOf = ({ labels, isCategory = false }: FrameAxis, room: number): string[][] =>
    labels.map(({ text }) => (isCategory ? wrapped(text, room, CHART_TEXT.body) : [text]));
  const upLines = linesOf(up, view.labelWidth ?? 200);
  const left = 8 + widestOf(upLines.flat());
  const last = across.labels.at(-1);
  const overhang = last === undefined || across.isCategory === true ? 2 : widestOf([last.text]) / 2 + 3;
  const right = width - Math.max(view.right ?? 2, overhang);
  const acrossLines = linesOf(across, (right - left) / across.labels.length - LABEL_GAP);
  const rows = acrossLines.reduce((most, { length }) => Math.max(most, length), 0);
  const bottom = height - (across.name === undefined ? 4 : 26) - rows * TEXT_LINE - 4;
  const place: Place = (x, y) => [left + x * (right - left), top + y * (bottom - top)];
  const line = (from: Point, to: Point, ink: string): SvgElement => stroke([from, to], ink, 1);
  const inkOf = ({ isCategory = false }: FrameAxis): string => (isCategory ? CHART_INK.text : CHART_INK.muted);
  const shown = across.isCategory === true ? across.labels : withRoom(across.labels, (share) => place(share, 0)[0]);
  if (up.hasGrid === true)
    elements.push(...up.labels.map((at) => line(place(0, at.share), place(1, at.share), CHART_INK.grid)));
  if (across.hasGrid === true)
    elements.push(...shown.map((at) => line(place(at.share, 0), place(at.share, 1), CHART_INK.grid)));
  const drawn = view.plot(place);
  const [x, y, inner, tall] = [left, top, right - left, bottom - top];
  const cut: SvgElement = {
    tag: 'svg',
    attributes: { x, y, width: inner, height: tall, viewBox: `${x} ${y} ${inner} ${tall}` },
    content: drawn,
  };
  if (view.hasLines !== false)
    elements.push(line(place(0, 0), place(0, 1), CHART_INK.line), line(place(0, 1), place(1, 1), CHART_INK.line));
  elements.push(
    ...up.labels.flatMap(({ share }, row) =>
      upLines[row].map((text, at) =>
        writing(text, left - 8, place(0, share)[1] + (at - (upLines[row].length - 1) / 2) * TEXT_LINE, {
          ink: inkOf(up),
          anchor: 'end',
        }),
      ),
    ),
    ...shown.flatMap((label) =>
      acrossLines[across.labels.indexOf(label)].map((text, at) =>
        writing(text, place(label.share, 0)[0], bottom + 14 + at * TEXT_LINE, { ink: inkOf(across) }),
      ),
    ),
  );
  if (across.name !== undefined) {
    elements.push(writing(across.name, (left + right) / 2, height - 10, { ink: CHART_INK.muted }));
  }
  elements.push(...(view.isCut === true ? [cut] : drawn));
  return { elements, left, right };
}

/** An axis of numbers; without values it has its name alone. */
export function numericAxis(
  axis: Pick<ChartAxis, 'label' | 'unit'>,
  scale: Scale | undefined,
  isUpward: boolean,
): FrameAxis {
  const { label, unit } = axis;
  return {
    name: unit === undefined ? label : `${label} (${unit})`,
    labels: (scale?.ticks ?? []).map(({ value, text }) => {
      const share = scale?.share(value) ?? 0;
      return { text, share: isUpward ? 1 - share : share };
    }),
  };
}

/** Every first, second, third… label, so that labels do not touch. */
function withRoom(labels: FrameAxis['labels'], pixel: (share: number) => number): FrameAxis['labels'] {
  for (let every = 1; every < labels.length; every++) {
    const kept = labels.filter((_, at) => at % every === 0);
    const fits = kept.every(({ share, text }, at) => {
      if (at === 0) return true;
      const room = pixel(share) - pixel(kept[at - 1].share);
      return room >= LABEL_GAP + (widestOf([text]) + widestOf([kept[at - 1].text])) / 2;
    });
    if (fits) return kept;
  }
  return labels.slice(0, 1);
}

/** Items that wrap like words. */
function legend({ names, icon }: View, width: number, top: number): { items: SvgElement[]; bottom: number } {
  let [x, y] = [0, top + 7];
  const items = names.flatMap((name, at) => {
    const item = LEGEND.icon + 5 + widestOf([name]);
    if (x > 0 && x + item > width) [x, y] = [0, y + LEGEND.row];
    const start = x;
    x += item + LEGEND.gap;
    const text = writing(name, start + LEGEND.icon + 5, y, { ink: CHART_INK.text, anchor: 'start' });
    return [...icon(at, start + LEGEND.icon / 2, y), text];
  });
  return { items, bottom: y + 8 };
}

function widestOf(texts: readonly string[]): number {
  return texts.reduce((widest, text) => Math.max(widest, estimateTextWidth(text, CHART_TEXT.body)), 0);
}

/** Words in as many lines as the width takes. */
function wrapped(text: string, width: number, fontSize: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = lines.length === 0 ? word : `${lines[lines.length - 1]} ${word}`;
    if (lines.length > 0 && estimateTextWidth(longer, fontSize) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** Shapes around (0, 0), so that series differ without colour; hollow ones after the first four. */
const OUTLINES = [
  'M-4.5 0A4.5 4.5 0 1 1 4.5 0A4.5 4.5 0 1 1 -4.5 0Z',
  'M-4 -4H4V4H-4Z',
  'M0 -5L5 4H-5Z',
  'M0 -5.5L5.5 0L0 5.5L-5.5 0Z',
];

/** The marker of a series at a point. */
export function marker(series: number, [x, y]: Point, size = 1): SvgElement {
  const { colour, symbol } = seriesStyle(series);
  const isHollow = symbol >= OUTLINES.length;
  const paint = { fill: isHollow ? 'none' : colour, stroke: isHollow ? colour : 'none', 'stroke-width': 1.5 };
  const transform = `translate(${Math.round(100 * x) / 100} ${Math.round(100 * y) / 100})${size === 1 ? '' : ` scale(${size})`}`;
  return { tag: 'path', attributes: { d: OUTLINES[symbol % OUTLINES.length], ...paint, transform } };
}

/** A line from one end of a spread to the other, with a cap at each. */
export function spreadBar(from: Point, to: Point, colour: string, cap: number): SvgElement[] {
  const [across, down] = from[0] === to[0] ? [cap, 0] : [0, cap];
  const capAt = ([x, y]: Point): readonly Point[] => [
    [x - across, y - down],
    [x + across, y + down],
  ];
  return [[from, to], capAt(from), capAt(to)].map((points) => stroke(points, colour, 1.5));
}
