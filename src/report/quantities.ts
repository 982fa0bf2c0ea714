/**
 * Quantities as people read them: bytes, durations, counts, ratios. One spelling for terminals, tables, charts and
 * reports. Non-finite values print as `NaN`, `∞` or `−∞`; they are results too (a diverged loss).
 */

/** Splits off the sign, so that formats only handle finite magnitudes. */
function withSign(value: number, spell: (magnitude: number) => string): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const spelled = spell(Math.abs(value));
  // A value that rounds to zero has no sign: −0.00 would only puzzle.
  return value < 0 && /[1-9]/.test(spelled) ? `−${spelled}` : spelled;
}

/** Digits before the decimal point in groups of three: `1234567.5` → `1,234,567.5`. */
function groupThousands(digits: string): string {
  const [whole, fraction] = digits.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/** A number with a fixed count of decimals and grouped thousands: `formatFixed(1234.5, 2)` → `1,234.50`. */
export function formatFixed(value: number, decimals: number): string {
  return withSign(value, (magnitude) => groupThousands(magnitude.toFixed(decimals)));
}

/** `formatFixed` with a given number of decimals, for columns of tables and axes of charts. */
export const fixed =
  (decimals: number) =>
  (value: number): string =>
    formatFixed(value, decimals);

/** A number and its spread, a deviation or a standard error: `5.30 ± 0.21`, without a spread if there is none. */
export function formatSpread(value: number, spread: number | undefined, decimals: number, isSigned = false): string {
  const sign = isSigned && value > 0 ? '+' : '';
  const error = spread === undefined || !Number.isFinite(spread) ? '' : ` ± ${formatFixed(spread, decimals)}`;
  return `${sign}${formatFixed(value, decimals)}${error}`;
}

/**
 * A number with about `digits` significant digits (default 4), never fewer than its whole part: `0.0123457` →
 * `0.01235`, `12345.6` → `12,346`. Very small magnitudes turn to `1.2e-7`.
 */
export function formatNumber(value: number, digits = 4): string {
  return withSign(value, (magnitude) => {
    if (magnitude === 0) return '0';
    if (magnitude < 1e-4) return magnitude.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, 'e');
    if (magnitude >= 1e15) return magnitude.toExponential(digits - 1).replace('e+', 'e');
    const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(magnitude)));
    const fixed = magnitude.toFixed(Math.min(decimals, 100));
    return groupThousands(fixed.includes('.') ? fixed.replace(/\.?0+$/, '') : fixed);
  });
}

/** A whole number in full: `1234567` → `1,234,567`, with a noun if given: `1 row`, `2 rows`. */
export function formatCount(value: number, noun?: string): string {
  const name = noun === undefined ? '' : ` ${noun}${value === 1 ? '' : 's'}`;
  return formatFixed(value, 0) + name;
}

interface Scale {
  readonly factor: number;
  readonly suffix: string;
}

/** Three significant digits, but whole numbers from 100 on and for whole values. */
function threeDigits(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

/**
 * A magnitude in the scale whose next step, `limit` times larger, it does not reach. Rounding can carry into that next
 * scale (999.96 K is 1.00 M), so the choice is made on the rounded value.
 */
function scaled(magnitude: number, scales: readonly Scale[], limit: number): string {
  let at = 0;
  while (at + 1 < scales.length && Number(threeDigits(magnitude / scales[at].factor)) >= limit) at++;
  const { factor, suffix } = scales[at];
  return `${threeDigits(magnitude / factor)}${suffix}`;
}

const DECIMAL_SCALES: readonly Scale[] = [
  { factor: 1, suffix: '' },
  { factor: 1e3, suffix: 'K' },
  { factor: 1e6, suffix: 'M' },
  { factor: 1e9, suffix: 'B' },
  { factor: 1e12, suffix: 'T' },
];

/** A count in short: `1234567` → `1.23M`; thousands are K, 10⁹ is B, 10¹² is T. */
export function formatShortCount(value: number): string {
  return withSign(value, (magnitude) => scaled(magnitude, DECIMAL_SCALES, 1000));
}

const BYTE_SCALES: readonly Scale[] = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].map((unit, power) => ({
  factor: 1024 ** power,
  suffix: ` ${unit}`,
}));

/** A size in binary units: `1536` → `1.50 KiB`, `2048` → `2 KiB`. */
export function formatBytes(bytes: number): string {
  return withSign(bytes, (magnitude) => scaled(magnitude, BYTE_SCALES, 1024));
}

/** A length in tokens or nodes, in binary thousands if it is a whole multiple: `16384` → `16K`, `1000` → `1,000`. */
export function formatTokens(count: number): string {
  if (Number.isInteger(count) && count !== 0 && count % 1024 === 0) {
    return count % (1024 * 1024) === 0 ? `${formatCount(count / 1024 / 1024)}M` : `${formatCount(count / 1024)}K`;
  }
  return formatNumber(count);
}

const SECOND_SCALES: readonly Scale[] = [
  { factor: 1e-9, suffix: ' ns' },
  { factor: 1e-6, suffix: ' µs' },
  { factor: 1e-3, suffix: ' ms' },
  { factor: 1, suffix: ' s' },
];

const twoDigits = (value: number): string => String(value).padStart(2, '0');

/** A duration given in seconds: `0.00123` → `1.23 ms`, `75` → `1m 15s`, `7380` → `2h 03m`, `200000` → `2d 07h`. */
export function formatDuration(seconds: number): string {
  return withSign(seconds, (magnitude) => {
    if (magnitude === 0) return '0 s';
    if (magnitude < 59.95) return scaled(magnitude, SECOND_SCALES, 1000);
    const whole = Math.round(magnitude);
    const minutes = Math.floor(whole / 60);
    const hours = Math.floor(minutes / 60);
    if (hours === 0) return `${minutes}m ${twoDigits(whole % 60)}s`;
    if (hours < 48) return `${hours}h ${twoDigits(minutes % 60)}m`;
    return `${Math.floor(hours / 24)}d ${twoDigits(hours % 24)}h`;
  });
}

/** How many times one thing is the other: `formatRatio(1.852)` → `1.85×`. */
export function formatRatio(ratio: number): string {
  return `${formatNumber(ratio, 3)}×`;
}

/** A share of 1 in percent: `formatPercent(0.1234)` → `12.3 %`. */
export function formatPercent(share: number, decimals = 1): string {
  return `${formatFixed(share * 100, decimals)} %`;
}

/** `formatPercent` with a given number of decimals, for columns of tables and axes of charts. */
export const percent =
  (decimals: number) =>
  (share: number): string =>
    formatPercent(share, decimals);

/** A change as a share, with its sign: `signedPercent(0.1234)` → `+12.3 %`. */
export function signedPercent(change: number, decimals = 1): string {
  const spelled = formatPercent(change, decimals);
  return change > 0 && /[1-9]/.test(spelled) ? `+${spelled}` : spelled;
}
