/** Pictures drawn by hand: a tree of SVG elements, and their markup with all text escaped. */
import { escapeMarkup } from '../markup.ts';

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
  const written = Object.entries(attributes).map(([name, value]) => ` ${name}="${attributeText(value)}"`);
  const inner = typeof content === 'string' ? escapeMarkup(content) : content.map(svgMarkup).join('');
  return inner === '' ? `<${tag}${written.join('')}/>` : `<${tag}${written.join('')}>${inner}</${tag}>`;
}

function attributeText(value: string | number): string {
  return typeof value === 'number' ? roundedText(value) : escapeMarkup(value);
}

/** A coordinate to hundredths, without trailing zeros: for attributes and path data. */
export function roundedText(value: number): string {
  return String(Math.round(value * 100) / 100);
}
