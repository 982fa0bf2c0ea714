/** Pictures as trees of SVG elements, and their markup with all text escaped. */
import { escapeMarkup } from '../markup.ts';
import { CHART_FONT, CHART_TEXT } from './chart-style.ts';

/** An element that a picture may hold. Nothing here can run, load or link to anything. */
export interface SvgElement {
  readonly tag: 'svg' | 'g' | 'title' | 'rect' | 'circle' | 'path' | 'text';
  /** Values are escaped; names are not, and come from code alone. Numbers are rounded to hundredths of a pixel. */
  readonly attributes?: Readonly<Record<string, string | number>>;
  /** Text, which is escaped, or elements. */
  readonly content?: string | readonly SvgElement[];
}

/** The element as markup. */
export function svgMarkup({ tag, attributes = {}, content = '' }: SvgElement): string {
  const written = Object.entries(attributes).map(
    ([name, value]) => ` ${name}="${typeof value === 'number' ? roundedText(value) : escapeMarkup(value)}"`,
  );
  const inner = typeof content === 'string' ? escapeMarkup(content) : content.map(svgMarkup).join('');
  return inner === '' ? `<${tag}${written.join('')}/>` : `<${tag}${written.join('')}>${inner}</${tag}>`;
}

/** A coordinate to hundredths, without trailing zeros: for attributes and path data. */
export function roundedText(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** Pixels from the left and from the top. */
export type Point = readonly [x: number, y: number];

/** Path data of straight lines through points. */
export function linePath(points: readonly Point[]): string {
  return points.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${roundedText(x)} ${roundedText(y)}`).join('');
}

/** A line through points. */
export function stroke(points: readonly Point[], colour: string, width: number): SvgElement {
  return { tag: 'path', attributes: { d: linePath(points), fill: 'none', stroke: colour, 'stroke-width': width } };
}

interface WritingStyle {
  readonly ink: string;
  /** Default 12. */
  readonly fontSize?: number;
  /** Default `middle`. */
  readonly anchor?: 'start' | 'middle' | 'end';
  /** Default 400. */
  readonly weight?: number;
}

/** Text around a height. The shift is spelled out: not every viewer knows `dominant-baseline`. */
export function writing(text: string, x: number, y: number, style: WritingStyle): SvgElement {
  const { fontSize = CHART_TEXT.body, ink, anchor = 'middle', weight = 400 } = style;
  return {
    tag: 'text',
    attributes: {
      x,
      y: y + 0.35 * fontSize,
      fill: ink,
      'text-anchor': anchor,
      'font-family': CHART_FONT,
      'font-size': fontSize,
      'font-weight': weight,
    },
    content: text.replace(/\p{Cc}+/gu, ' '),
  };
}
