/** Drawn charts: SVG text for a report or a separate file. */
import { chartRules, darkInk, darkSeries } from './chart-style.ts';
import { type SvgElement, svgMarkup } from './svg-element.ts';

/** Width and height in CSS pixels, and a description of the picture for screen readers. */
export interface ChartFrame {
  readonly width: number;
  readonly height: number;
  readonly description: string;
}

/**
 * A drawn chart. Instances come from `Chart.draw` alone, so that a report can put `svg` into its markup as it is: all text
 * in it is escaped, and it holds no script, style sheet or reference to anything outside.
 */
export class Chart {
  /** An `<svg>` element on transparent ground. */
  readonly svg: string;
  readonly frame: ChartFrame;
  /** The same for narrow pages, if it is another drawing: text keeps its size. */
  readonly narrow: Chart | undefined;

  private constructor(svg: string, frame: ChartFrame, narrow: Chart | undefined) {
    this.svg = svg;
    this.frame = frame;
    this.narrow = narrow;
  }

  /** A chart of elements. */
  static draw(elements: readonly SvgElement[], frame: ChartFrame, narrow?: Chart): Chart {
    const { width, height, description } = frame;
    const xmlns = 'http://www.w3.org/2000/svg';
    const attributes = {
      role: 'img',
      'aria-label': description,
      width,
      height,
      xmlns,
      viewBox: `0 0 ${width} ${height}`,
    };
    const ground: SvgElement = { tag: 'rect', attributes: { width, height, fill: 'none' } };
    return new Chart(svgMarkup({ tag: 'svg', attributes, content: [ground, ...elements] }), frame, narrow);
  }

  /** The picture as a separate file with its own background: light, or dark if the reader's system is. */
  svgFile(): string {
    const style = `<style>@media (prefers-color-scheme: dark) {\n${DARK_RULES}\n}</style>`;
    return this.svg.replace(/(<rect [^>]*)fill="none"/, `${style}$1fill="${GROUND.light}"`);
  }
}

/** Background of a picture in a file. */
const GROUND = { light: '#fff', dark: '#181c23' } as const;
const DARK_COLOURS: Readonly<Record<string, string>> = {
  ...darkInk,
  ...Object.fromEntries(darkSeries.map((colour, at) => [`series-${at}`, colour])),
};
const DARK_RULES = [
  `rect[fill="${GROUND.light}"] { fill: ${GROUND.dark}; }`,
  chartRules('', (name) => DARK_COLOURS[name]),
].join('\n');
