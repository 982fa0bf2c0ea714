/**
 * The look of every chart. Series colours are the colour-blind safe set of Okabe and Ito ("Color Universal Design",
 * 2008), yellow and sky blue darkened to reach a contrast of 3:1 on white; they hold on a dark ground too. Shape and dash
 * repeat the distinction of colours, for print without colour.
 */
import { scaleLinear } from 'd3-scale';
import stringWidth from 'string-width';

/** Colours of parts other than data. These and the series colours are replaced on a dark ground. */
export const CHART_INK = { text: '#1d2129', muted: '#5a6270', line: '#98a1ae', grid: '#e4e7ec' } as const;

/** The same on a dark ground. */
export const darkInk = { text: '#e6e9ee', muted: '#a2abb8', line: '#69727f', grid: '#2c323c' } as const;

const SERIES_COLOURS = ['#0072b2', '#d55e00', '#008563', '#a9548a', '#a67300', '#2d7fb8', '#6b6f76'] as const;
/** Colours of the series on a light ground, and on a dark one, each of 4.5:1 on it at least. */
export const lightSeries: readonly string[] = SERIES_COLOURS;
export const darkSeries = ['#5db3e8', '#f0893c', '#3cc79d', '#e08fc4', '#d9b045', '#8fc4ea', '#a7adb7'] as const;

/**
 * Rules that recolour a chart, whose colours are attributes.
 * @param scope prefix of the selectors, such as `figure svg `
 * @param colour the new colour of `text`, `muted`, `line`, `grid` and `series-0`…
 */
export function chartRules(scope: string, colour: (name: string) => string): string {
  const named = [
    ...Object.entries(CHART_INK),

    ...lightSeries.map((ink, at) => [`series-${at}`, ink]),
  ];
  return named
    .flatMap(([name, ink]) =>
      ['fill', 'stroke'].map((attribute) => `${scope}[${attribute}="${ink}"] { ${attribute}: ${colour(name)}; }`),
    )
    .join('\n');
}

/** Colour, number of the marker and line of the series at a place in the list; they repeat after seven. */
export function seriesStyle(at: number): { colour: string; symbol: number; isDashed: boolean } {
  const symbol = at % SERIES_COLOURS.length;
  return { colour: SERIES_COLOURS[symbol], symbol, isDashed: symbol >= 4 };
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

/**
 * Light to dark blue, red and green falling all the way, so that lightness alone tells the order: in print without
 * colour, and to every kind of colour vision.
 */
const ramp = scaleLinear<number[]>(
  [0, 0.5, 1],
  [
    [236, 243, 251],
    [107, 174, 214],
    [8, 48, 107],
  ],
);

/** Fill of a share 0…1, and the ink, black or white, that is read best on it (WCAG 2.2, relative luminance). */
export function shareStyle(share: number): { fill: string; ink: string } {
  if (!Number.isFinite(share)) return { fill: '#ffffff', ink: '#000000' };
  const colour = ramp(share).map(Math.round);
  const [red, green, blue] = colour.map((channel) => {
    const value = channel / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  const blackContrast = (luminance + 0.05) / 0.05;
  const whiteContrast = 1.05 / (luminance + 0.05);
  const fill = `#${colour.map((channel) => channel.toString(16).padStart(2, '0')).join('')}`;
  return { fill, ink: blackContrast >= whiteContrast ? '#000000' : '#ffffff' };
}
