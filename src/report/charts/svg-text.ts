/** Text in pictures that are drawn element by element. */
import { CHART_FONT } from './chart-style.ts';
import type { SvgElement } from './svg-element.ts';

export interface WritingStyle {
  readonly fontSize: number;
  readonly ink: string;
  /** Default `middle`. */
  readonly anchor?: 'middle' | 'end';
  /** Default 400. */
  readonly weight?: number;
}

/** Text around a height. The shift is spelled out: not every viewer knows `dominant-baseline`. */
export function writing(text: string, x: number, y: number, style: WritingStyle): SvgElement {
  const { fontSize, ink, anchor = 'middle', weight = 400 } = style;
  return {
    tag: 'text',
    attributes: {
      ...{ x, y: y + 0.35 * fontSize, fill: ink, 'text-anchor': anchor },
      ...{ 'font-family': CHART_FONT, 'font-size': fontSize, 'font-weight': weight },
    },
    content: text,
  };
}
