/** A picture of a candidate tree: its nodes coloured by how often they were accepted. */
import type { TokenTree } from '../../attention/tree.ts';
import { LinnetError } from '../../errors.ts';
import { drawChart, type View } from './chart-frame.ts';
import type { Chart } from './chart-renderer.ts';
import { CHART_INK, CHART_TEXT, estimateTextWidth, shareStyle } from './chart-style.ts';
import { formatFixed } from '../quantities.ts';
import { type Point, roundedText, type SvgElement, writing } from './svg-element.ts';
import { layoutTree } from './tree-layout.ts';

/** A token tree as a chart. */
export interface TreeChartDescription {
  readonly title?: string;
  /** For those who cannot see the picture. Default: the title and the number of nodes. */
  readonly description?: string;
  readonly tree: TokenTree;
  /** Share of times that each node was accepted [T], 0…1; not finite where it is not known. */
  readonly acceptance: ArrayLike<number>;
  /** Text in each node [T], such as its rank. Default: the acceptance in percent. */
  readonly labels?: readonly string[];
  /** Title of the colour legend. Default `accepted`. */
  readonly legend?: string;
  /** CSS pixels; default 720. The height follows from the depth. */
  readonly width?: number;
}

/** More nodes than this cannot be told apart at any width that a page has. */
export const mostDrawnNodes = 512;

const MARGIN = 16;
const LARGEST_RADIUS = 15;
/** Below this radius a label is too small to read, and is left to the tooltip. */
const SMALLEST_LABELLED_RADIUS = 7;
const LARGEST_SPACING = 46;
const LEGEND_STEPS = 11;
const LEGEND_STEP_WIDTH = 14;
const LEGEND_HEIGHT = 26;

/**
 * Draws a tree, the root on top.
 * @throws LinnetError `INPUT` for acceptances or labels that are not one per node, an acceptance outside 0…1, or more
 *   than `mostDrawnNodes` nodes
 * @example
 * ```ts
 * const { svg } = treeChart(picture);
 * ```
 */
export function treeChart(picture: TreeChartDescription): Chart {
  const { title, tree } = picture;
  checkPicture(picture);
  const described = `${title ?? 'Candidate tree'}: ${tree.size} nodes, ${tree.height} levels below the root`;
  return drawChart({ description: described, ...picture }, (_, width) => treeView(picture, width));
}

function treeView(picture: TreeChartDescription, width: number): View {
  const { tree, legend = 'accepted' } = picture;
  const layout = layoutTree(tree.parents);
  const spacing = Math.min(LARGEST_SPACING, (width - 2 * MARGIN) / (layout.width + 1));
  const radius = Math.min(LARGEST_RADIUS, 0.44 * spacing);
  const rowHeight = Math.max(34, 3 * radius);
  const indent = (width - spacing * layout.width) / 2;
  const nodes = Array.from(tree.parents, (_, node) => node);
  return {
    names: [],
    icon: () => [],
    across: { labels: [] },
    up: { labels: [] },
    hasLines: false,
    height: Math.ceil(LEGEND_HEIGHT + 2 * radius + rowHeight * tree.height + 3 * MARGIN),
    plot(origin) {
      const [, top] = origin(0, 0);
      const place = (node: number): Point => [
        indent + spacing * layout.columns[node],
        top + LEGEND_HEIGHT + radius + rowHeight * tree.depths[node],
      ];
      const edges = nodes.filter((node) => tree.parents[node] >= 0);
      return [
        ...legendElements(legend, width, top),
        {
          tag: 'g',
          attributes: { fill: 'none', stroke: CHART_INK.line, 'stroke-width': 1.2 },
          content: edges.map((node) => edgePath(place(tree.parents[node]), place(node))),
        },
        ...nodes.map((node) => nodeElement(picture, node, place(node), radius)),
      ];
    },
  };
}

function checkPicture({ tree, acceptance, labels }: TreeChartDescription): void {
  if (tree.size > mostDrawnNodes) {
    throw new LinnetError(
      'INPUT',
      `a tree of ${tree.size} nodes is drawn; at most ${mostDrawnNodes} can be told apart`,
    );
  }
  for (const [what, values] of Object.entries({ acceptances: acceptance, labels })) {
    if (values !== undefined && values.length !== tree.size) {
      throw new LinnetError('INPUT', `${values.length} ${what} for ${tree.size} nodes; give one per node`);
    }
  }
  for (let node = 0; node < tree.size; node++) {
    const share = acceptance[node];
    if (Number.isFinite(share) && !(share >= 0 && share <= 1)) {
      throw new LinnetError('INPUT', `the acceptance of node ${node} is ${share}, expected a share in 0…1`);
    }
  }
}

function edgePath(from: Point, to: Point): SvgElement {
  const [x1, y1, x2, y2, middle] = [...from, ...to, (from[1] + to[1]) / 2].map(roundedText);
  return { tag: 'path', attributes: { d: `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}` } };
}

function nodeElement(
  { tree, acceptance, labels, legend = 'accepted' }: TreeChartDescription,
  node: number,
  [x, y]: Point,
  radius: number,
): SvgElement {
  const share = acceptance[node];
  const known = Number.isFinite(share);
  const { fill, ink } = shareStyle(share);
  const label = labels?.[node] ?? (known ? formatFixed(100 * share, 0) : '–');
  const measured = known ? `${legend} ${formatFixed(100 * share, 1)} %` : 'never offered';
  const named = labels === undefined ? '' : ` (${label})`;
  const circle: SvgElement = {
    tag: 'circle',
    attributes: {
      cx: x,
      cy: y,
      r: radius,
      fill,
      stroke: CHART_INK.line,
      ...(known ? {} : { 'stroke-dasharray': '2 2' }),
    },
  };
  const tooltip: SvgElement = {
    tag: 'title',
    content: `node ${node}${named}, depth ${tree.depths[node]}: ${measured}`,
  };
  if (radius < SMALLEST_LABELLED_RADIUS) return { tag: 'g', content: [tooltip, circle] };
  const fontSize = Math.min(11, radius, (1.75 * radius) / Math.max(0.1, estimateTextWidth(label, 1)));
  return { tag: 'g', content: [tooltip, circle, writing(label, x, y, { fontSize, ink })] };
}

/** `accepted  0 % ▁▂▃▄▅▆▇ 100 %`, at the right. */
function legendElements(legend: string, width: number, y: number): SvgElement[] {
  const style = { fontSize: CHART_TEXT.body, ink: CHART_INK.muted, anchor: 'end' } as const;
  const end = width - MARGIN - estimateTextWidth('100 %', CHART_TEXT.body) - 6;
  const start = end - LEGEND_STEPS * LEGEND_STEP_WIDTH;
  const swatches = Array.from({ length: LEGEND_STEPS }, (_, step): SvgElement => {
    const { fill } = shareStyle(step / (LEGEND_STEPS - 1));
    const x = start + step * LEGEND_STEP_WIDTH;
    return { tag: 'rect', attributes: { x, y: y + 2, width: LEGEND_STEP_WIDTH, height: 12, fill } };
  });
  return [
    writing(`${legend}   0 %`, start - 6, y + 8, style),
    ...swatches,
    writing('100 %', width - MARGIN, y + 8, style),
  ];
}
