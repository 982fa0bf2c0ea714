/**
 * Draws ECharts options as static SVG text, without a browser. ECharts takes a third of a second to load, so it is
 * loaded with the first chart, and only the parts used here.
 */
import { createHash } from 'node:crypto';
import type * as EChartsCore from 'echarts/core';
import { chartRules, darkInk, darkSeries, estimateTextWidth } from './chart-style.ts';
import { escapeMarkup, replaceForbidden } from '../markup.ts';
import { type SvgElement, svgMarkup } from './svg-element.ts';

const SVG_NAMESPACE = 'http://www.w3.org/2000/svg';

/** Width and height in CSS pixels, and what the picture shows, for those who cannot see it. */
export interface ChartFrame {
  readonly width: number;
  readonly height: number;
  readonly description: string;
}

/**
 * A drawn chart. Instances come from `Chart.render` and `Chart.draw` alone, so that a report can put `svg` into its
 * markup as it is: all text in it is escaped, and it holds no script, style sheet or reference to anything outside.
 */
export class Chart {
  /** An `<svg>` element on transparent ground. */
  readonly svg: string;
  readonly frame: ChartFrame;
  /** The same for narrow pages, where that is another drawing: text keeps its size. */
  readonly narrow: Chart | undefined;

  private constructor(svg: string, frame: ChartFrame, narrow?: Chart) {
    this.svg = svg;
    this.frame = frame;
    this.narrow = narrow;
  }

  /** The chart with a drawing for narrow pages. */
  withNarrow(narrow: Chart): Chart {
    return new Chart(this.svg, this.frame, narrow);
  }

  /** Draws an option of ECharts, a `ChartOption`; its types need those of browsers, so that they are not in this signature. */
  static async render(option: object, frame: ChartFrame): Promise<Chart> {
    const { init } = await loadECharts();
    const chart = init(null, null, { renderer: 'svg', ssr: true, width: frame.width, height: frame.height });
    try {
      chart.setOption({ animation: false, ...option });
      return new Chart(tidy(chart.renderToSVGString({ useViewBox: true }), frame.description), frame);
    } finally {
      chart.dispose();
    }
  }

  /** Draws elements, for pictures that ECharts has no series for. */
  static draw(elements: readonly SvgElement[], frame: ChartFrame): Chart {
    const { width, height, description } = frame;
    const attributes = { role: 'img', 'aria-label': description, width, height, xmlns: SVG_NAMESPACE };
    const ground: SvgElement = { tag: 'rect', attributes: { width, height, fill: 'none' } };
    const viewBox = `0 0 ${width} ${height}`;
    const svg = svgMarkup({ tag: 'svg', attributes: { ...attributes, viewBox }, content: [ground, ...elements] });
    return new Chart(svg, frame);
  }

  /** The picture as a file of its own, on a ground of its own: light, or dark where the reader's system is. */
  svgFile(): string {
    const style = `<style>@media (prefers-color-scheme: dark) {\n${DARK_RULES}\n}</style>`;
    return this.svg.replace(/(<rect [^>]*)fill="none"/, `${style}$1fill="${GROUND.light}"`);
  }
}

/** Behind a picture that is a file. */
const GROUND = { light: '#fff', dark: '#181c23' } as const;
const DARK_COLOURS: Readonly<Record<string, string>> = {
  ...darkInk,
  ...Object.fromEntries(darkSeries.map((colour, at) => [`series-${at}`, colour])),
};
const DARK_RULES = [
  `rect[fill="${GROUND.light}"] { fill: ${GROUND.dark}; }`,
  chartRules('', (name) => DARK_COLOURS[name]),
].join('\n');

async function loadECharts(): Promise<typeof EChartsCore> {
  const [core, charts, components, renderers] = await Promise.all([
    import('echarts/core'),
    import('echarts/charts'),
    import('echarts/components'),
    import('echarts/renderers'),
  ]);
  core.use([
    charts.LineChart,
    charts.BarChart,
    charts.CustomChart,
    components.GridComponent,
    components.LegendComponent,
    components.TitleComponent,
    renderers.SVGRenderer,
  ]);
  core.setPlatformAPI({
    measureText: (text, font = '') => ({
      width: estimateTextWidth(text, Number.parseFloat(/([\d.]+)px/.exec(font)?.[1] ?? '12')),
    }),
  });
  return core;
}

/**
 * Takes out what only the interactive version needs (hover rules and their classes), names the clip paths by content
 * instead of by a counter of the process, so that equal charts are equal text, and adds the description. The patterns
 * match markup alone: in text, `<` and `"` are escaped.
 */
function tidy(svg: string, description: string): string {
  const quiet = replaceForbidden(svg)
    .replace(/<style ?>[^]*?<\/style>\s*/g, '')
    .replace(/ (?:class|pointer-events|ecmeta_\w+)="[^"]*"/g, '')
    .replace(/ (id="|[a-z-]+="url\(#)zr\d+-/g, ' $1');
  const prefix = `c${createHash('sha256').update(quiet).digest('hex').slice(0, 10)}-`;
  return quiet
    .replace(/ (id="|[a-z-]+="url\(#)/g, ` $1${prefix}`)
    .replace(/^<svg /, `<svg role="img" aria-label="${escapeMarkup(description)}" `);
}
