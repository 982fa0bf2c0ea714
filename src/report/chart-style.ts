/**
 * The look of every chart. Series colours are the colour-blind safe set of Okabe and Ito ("Color Universal Design",
 * 2008), yellow and sky blue darkened to reach a contrast of 3:1 on white; they hold on a dark ground too. Shape and dash
 * repeat what the colour says, for print without colour.
 */
import stringWidth from 'string-width';

/** Colours of what is not data. html.ts recolours exactly these on a dark ground. */
export const CHART_INK = { text: '#1d2129', muted: '#5a6270', line: '#98a1ae', grid: '#e4e7ec' } as const;

const SERIES_COLOURS = ['#0072b2', '#d55e00', '#008563', '#a9548a', '#a67300', '#2d7fb8', '#6b6f76'] as const;
const SERIES_SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect', 'emptyTriangle'] as const;
const SERIES_DASHES = ['solid', 'solid', 'solid', 'solid', 'dashed', 'dashed', 'dashed'] as const;

/** Colour, marker and line of the series at a place in the list; they repeat after seven. */
export function seriesStyle(at: number): {
  colour: string;
  symbol: string;
  dash: 'solid' | 'dashed';
} {
  const place = at % SERIES_COLOURS.length;
  return { colour: SERIES_COLOURS[place], symbol: SERIES_SYMBOLS[place], dash: SERIES_DASHES[place] };
}

export const CHART_FONT = 'system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif';

/** Text sizes in pixels; charts are drawn 720 pixels wide unless told otherwise. */
export const CHART_TEXT = { title: 15, body: 12 } as const;

/**
 * Width of a text in pixels, a little more than most fonts need: there is no font to measure with when a chart is drawn,
 * and a label with room around it looks better than one cut off. Proportions of DejaVu Sans, the widest usual font.
 */
export function estimateTextWidth(text: string, fontSize: number): number {
  let ems = 0;
  for (const character of text) {
    if (/[iljtfrI.,:;'|!()[\] ]/.test(character)) ems += 0.39;
    else if (/[mwMW@%—]/.test(character)) ems += 0.97;
    else if (/\p{Uppercase_Letter}/u.test(character)) ems += 0.7;
    else ems += 0.62 * stringWidth(character);
  }
  return ems * fontSize;
}

/** The style of text in a chart, of a colour. */
export function bodyText(color: string): { color: string; fontFamily: string; fontSize: number } {
  return { color, fontFamily: CHART_FONT, fontSize: CHART_TEXT.body };
}

/** A name as charts write it: without line breaks and other control characters. */
export function onOneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ');
}
