/** Descriptions of the charts to draw. */

/** Fields of both kinds of chart. */
export interface ChartBase {
  readonly title?: string;
  /** Alternative text. Default: the title, else the labels of the axes. */
  readonly description?: string;
  /** CSS pixels; default 720. */
  readonly width?: number;
  /** CSS pixels; default 360. */
  readonly height?: number;
}

/** An axis of numbers. */
export interface ChartAxis {
  readonly label: string;
  /** Appended to the label in parentheses. */
  readonly unit?: string;
  /** Default `linear`. Logarithmic axes have ticks at the powers of their base and take positive values only. */
  readonly scale?: 'linear' | 'log2' | 'log10';
  /** Whether a linear axis starts at zero whatever the data. Default false. */
  readonly fromZero?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** Ticks of a linear axis at multiples of a power of two, as bytes want them. Default false. */
  readonly isBinary?: boolean;
  /** Spelling of the ticks. Default: `formatTokens` on log2 axes, `formatNumber` on the others. */
  readonly format?: (value: number) => string;
}

/** A measurement, with its spread if known. A non-finite `y` leaves a gap in the line. */
export interface ChartPoint {
  readonly x: number;
  readonly y: number;
  /** Ends of the spread; drawn if both are given and finite. */
  readonly low?: number;
  readonly high?: number;
}

/** A line of a chart. */
export interface ChartLine {
  readonly name: string;
  readonly points: readonly ChartPoint[];
  /** How the spread is drawn. Default `bars`. */
  readonly spread?: 'bars' | 'band';
  /** Number of its style, for charts that share lines. Default: its place in the list. */
  readonly style?: number;
  /** Default: as the style says. */
  readonly isDashed?: boolean;
}

/** Lines over a numeric axis. */
export interface LineChartDescription extends ChartBase {
  readonly x: ChartAxis;
  readonly y: ChartAxis;
  readonly lines: readonly ChartLine[];
}

/** A group of bars in one color: one value per category, undefined for none. */
export interface ChartBars {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
  /** The spread of each value, drawn to both sides of the bar's end. */
  readonly deviations?: readonly (number | undefined)[];
}

/** Bars, one for each name. */
export interface BarChartDescription extends ChartBase {
  readonly categories: readonly string[];
  /** The axis of values, which starts at zero under bars. Dots beyond its `max` stand at its end, with an arrow by their value. */
  readonly value: Pick<ChartAxis, 'label' | 'unit' | 'max' | 'format'>;
  /** Spelling of the value at each bar. Default: the axis's. */
  readonly barLabel?: (value: number) => string;
  readonly bars: readonly ChartBars[];
  /** Bars grow to the right, categories are rows: for long names. Default false. */
  readonly horizontal?: boolean;
  /** `dots` for values that differ little: if all are far from zero, the axis leaves it out and says so. Default `bars`. */
  readonly marks?: 'bars' | 'dots';
}
