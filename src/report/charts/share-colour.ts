/** The colours of shares from 0 to 1 in pictures. */

/**
 * Light to dark blue, red and green falling all the way, so that lightness alone tells the order: in print without
 * colour, and to every kind of colour vision.
 */
const RAMP = [
  [236, 243, 251],
  [107, 174, 214],
  [8, 48, 107],
] as const;
/** Fill of unknown shares. */
const UNKNOWN_FILL = '#ffffff';

/** A colour of the ramp. */
function shareColour(share: number): readonly [red: number, green: number, blue: number] {
  const scaled = share * (RAMP.length - 1);
  const at = Math.min(RAMP.length - 2, Math.floor(scaled));
  const mix = (channel: 0 | 1 | 2): number =>
    Math.round(RAMP[at][channel] + (scaled - at) * (RAMP[at + 1][channel] - RAMP[at][channel]));
  return [mix(0), mix(1), mix(2)];
}

/** Fill of a share 0…1, and the ink, black or white, that is read best on it (WCAG 2.2, relative luminance). */
export function shareStyle(share: number): { fill: string; ink: string } {
  if (!Number.isFinite(share)) return { fill: UNKNOWN_FILL, ink: '#000000' };
  const colour = shareColour(share);
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
