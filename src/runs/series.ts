/**
 * The curves of a run as they grow: the file of metrics is read from where the last look ended, and long curves are thinned by
 * averaging neighbours, so that a run of a million steps is as light to keep and to send as one of a thousand.
 */
import { Buffer } from 'node:buffer';
import { LinnetError } from '../errors.ts';
import { openInFolder, readExactly } from '../files/regular-file.ts';
import { parseLines } from '../files/run-folder.ts';
import { type Metric, metricsFile } from '../report/record.ts';

/** Points of a curve that are kept; beyond that, neighbours are averaged. */
const mostPoints = 1024;
/** Groups of a run (stages of a conversion, trials of a study) and fields of a metric that are kept. */
const mostGroups = 512;
const mostFields = 32;
/** Bytes parsed at a time, and the longest line. */
const chunkBytes = 4 * 1024 * 1024;

/** A curve: x ascending, one y for each. */
export interface Curve {
  readonly x: readonly number[];
  readonly y: readonly number[];
}

/** The curves of a stage, of a trial, or of the whole run, by field. */
export interface CurveGroup {
  /** Empty for a run without stages and trials. */
  readonly name: string;
  readonly curves: Readonly<Record<string, Curve>>;
  /** The last values, numbers and others, by field. */
  readonly last: Metric;
}

/** One growing curve. */
class GrowingCurve {
  x: number[] = [];
  y: number[] = [];
  /** Points of the run in a point of the curve; the last one may have fewer. */
  #each = 1;
  #inLast = 0;

  add(x: number, y: number): void {
    // A stage or trial that was taken up again measures its last steps anew.
    while (this.x.length > 0 && this.x[this.x.length - 1] >= x) {
      this.x.pop();
      this.y.pop();
      this.#inLast = this.#each;
    }
    const at = this.x.length - 1;
    if (at >= 0 && this.#inLast < this.#each) {
      const share = 1 / (this.#inLast + 1);
      this.x[at] += (x - this.x[at]) * share;
      this.y[at] += (y - this.y[at]) * share;
      this.#inLast++;
      return;
    }
    if (this.x.length === mostPoints) {
      this.x = halved(this.x);
      this.y = halved(this.y);
      this.#each *= 2;
    }
    this.x.push(x);
    this.y.push(y);
    this.#inLast = 1;
  }
}

function halved(values: readonly number[]): number[] {
  return Array.from({ length: values.length / 2 }, (_, at) => (values[2 * at] + values[2 * at + 1]) / 2);
}

interface GrowingGroup {
  readonly curves: Map<string, GrowingCurve>;
  last: Record<string, Metric[string]>;
}

/** Follows the metrics of a run. */
export class RunSeries {
  readonly #folder: string;
  #groups = new Map<string, GrowingGroup>();
  #offset = 0;
  #file = '';
  #lines = 0;
  /** Grows with each read that adds metrics. */
  version = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The curves, by group in the order of their first lines. */
  get groups(): CurveGroup[] {
    return [...this.#groups].map(([name, { curves, last }]) => ({
      name,
      curves: Object.fromEntries([...curves].map(([field, { x, y }]) => [field, { x, y }])),
      last,
    }));
  }

  /**
   * Reads the lines added since. A file that was replaced, as by a run that goes on from a snapshot, is read anew.
   * @throws LinnetError `NOT_FOUND` without such a file, `FORMAT` for one that holds something else or is too large
   */
  async update(): Promise<void> {
    await using opened = await openInFolder(this.#folder, metricsFile.file);
    const { handle, size } = opened;
    if (size > metricsFile.mostBytes) {
      throw new LinnetError(
        'FORMAT',
        `the metrics in ${this.#folder} have ${size} bytes, at most ${metricsFile.mostBytes}`,
      );
    }
    const { dev, ino } = await handle.stat();
    const file = `${dev}:${ino}`;
    if (file !== this.#file || size < this.#offset) this.#forget(file);
    while (this.#offset < size) {
      const bytes = Buffer.alloc(Math.min(chunkBytes, size - this.#offset));
      await readExactly(handle, bytes, this.#offset, metricsFile.file);
      const end = bytes.lastIndexOf(0x0a) + 1;
      if (end === 0) {
        if (bytes.length < chunkBytes) break; // a line that is being written
        throw new LinnetError('FORMAT', `a line of the metrics in ${this.#folder} is longer than ${chunkBytes} bytes`);
      }
      const metrics = parseLines(
        metricsFile,
        bytes.toString('utf8', 0, end),
        `${this.#folder}/${metricsFile.file} from line ${this.#lines + 1}`,
      );
      for (const metric of metrics) this.#take(metric);
      this.#lines += metrics.length;
      this.#offset += end;
      this.version++;
    }
  }

  #forget(file: string): void {
    this.#groups = new Map();
    this.#offset = 0;
    this.#lines = 0;
    this.#file = file;
    this.version++;
  }

  #take(metric: Metric): void {
    const { stage, trial, ...fields } = metric;
    const name = String(stage ?? trial ?? '');
    const known = this.#groups.get(name);
    if (known === undefined && this.#groups.size >= mostGroups) return;
    const group = known ?? { curves: new Map<string, GrowingCurve>(), last: {} };
    this.#groups.set(name, group);
    const { update } = fields;
    for (const [field, value] of Object.entries(fields)) {
      if (group.last[field] === undefined && Object.keys(group.last).length >= mostFields) continue;
      group.last = { ...group.last, [field]: value };
      if (field === 'update' || typeof value !== 'number' || !Number.isFinite(value)) continue;
      if (typeof update !== 'number' || !Number.isFinite(update)) continue;
      const curve = group.curves.get(field) ?? new GrowingCurve();
      group.curves.set(field, curve);
      curve.add(update, value);
    }
  }
}
