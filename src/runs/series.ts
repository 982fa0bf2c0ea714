/**
 * The curves of a run as they grow: the file of metrics is read from where the last look ended, and long curves are thinned by
 * averaging neighbours, so that a run of a million steps is as light to keep and to send as one of a thousand.
 */
import { Buffer } from 'node:buffer';
import { LinnetError } from '../errors.ts';
import { openInFolder, readExactly } from '../files/regular-file.ts';
import { parseLines } from '../files/run-folder.ts';
import { type Metric, metricsFile } from '../report/record.ts';

/** Points kept per curve; beyond that, neighbors are averaged. */
const mostPoints = 1024;
/** Groups of a run (stages of a conversion, trials of a study) and fields of a metric to keep. */
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
function growingCurve() {
  let [x, y]: number[][] = [[], []];
  /** Points of the run in a point of the curve; the last one may have fewer. */
  let each = 1;
  let inLast = 0;
  return {
    points: (): Curve => ({ x, y }),
    add(place: number, value: number): void {
      // A stage or trial that was taken up again measures its last steps anew.
      while (x.length > 0 && x[x.length - 1] >= place) {
        x.pop();
        y.pop();
        inLast = each;
      }
      const at = x.length - 1;
      if (at >= 0 && inLast < each) {
        const share = 1 / (inLast + 1);
        x[at] += (place - x[at]) * share;
        y[at] += (value - y[at]) * share;
        inLast++;
        return;
      }
      if (x.length === mostPoints) {
        [x, y] = [halved(x), halved(y)];
        each *= 2;
      }
      x.push(place);
      y.push(value);
      inLast = 1;
    },
  };
}

function halved(values: readonly number[]): number[] {
  return Array.from({ length: values.length / 2 }, (_, at) => (values[2 * at] + values[2 * at + 1]) / 2);
}

interface GrowingGroup {
  readonly curves: Map<string, ReturnType<typeof growingCurve>>;
  last: Record<string, Metric[string]>;
}

/** Metrics of a followed run. */
export type RunSeries = ReturnType<typeof runSeries>;

export function runSeries(folder: string) {
  const groups = new Map<string, GrowingGroup>();
  let [file, offset, lines, version] = ['', 0, 0, 0];

  function take(metric: Metric): void {
    const { stage, trial, ...fields } = metric;
    const name = String(stage ?? trial ?? '');
    const known = groups.get(name);
    if (known === undefined && groups.size >= mostGroups) return;
    const group: GrowingGroup = known ?? { curves: new Map(), last: {} };
    groups.set(name, group);
    const { update } = fields;
    for (const [field, value] of Object.entries(fields)) {
      if (group.last[field] === undefined && Object.keys(group.last).length >= mostFields) continue;
      group.last = { ...group.last, [field]: value };
      if (field === 'update' || typeof value !== 'number' || !Number.isFinite(value)) continue;
      if (typeof update !== 'number' || !Number.isFinite(update)) continue;
      const curve = group.curves.get(field) ?? growingCurve();
      group.curves.set(field, curve);
      curve.add(update, value);
    }
  }

  return {
    /** Grows with each read that adds metrics. */
    version: () => version,

    /** The curves, by group in the order of their first lines. */
    groups: (): CurveGroup[] =>
      [...groups].map(([name, { curves, last }]) => ({
        name,
        curves: Object.fromEntries([...curves].map(([field, curve]) => [field, curve.points()])),
        last,
      })),

    /**
     * Reads the lines added since. Rereads a replaced file, as after a run continues from a snapshot.
     * @throws LinnetError `NOT_FOUND` without such a file, `FORMAT` for one that holds something else or is too large
     */
    async update(): Promise<void> {
      await using opened = await openInFolder(folder, metricsFile.file);
      const { handle, size } = opened;
      if (size > metricsFile.mostBytes) {
        throw new LinnetError(
          'FORMAT',
          `the metrics in ${folder} have ${size} bytes, expected at most ${metricsFile.mostBytes}`,
        );
      }
      const { dev, ino } = await handle.stat();
      if (file !== `${dev}:${ino}` || size < offset) {
        groups.clear();
        [file, offset, lines] = [`${dev}:${ino}`, 0, 0];
        version++;
      }
      while (offset < size) {
        const bytes = Buffer.alloc(Math.min(chunkBytes, size - offset));
        await readExactly(handle, bytes, offset, metricsFile.file);
        const end = bytes.lastIndexOf(0x0a) + 1;
        if (end === 0) {
          if (bytes.length < chunkBytes) break; // a line still being written
          throw new LinnetError('FORMAT', `a line of the metrics in ${folder} is longer than ${chunkBytes} bytes`);
        }
        const place = `${folder}/${metricsFile.file} from line ${lines + 1}`;
        const metrics = parseLines(metricsFile, bytes.toString('utf8', 0, end), place);
        for (const metric of metrics) take(metric);
        lines += metrics.length;
        offset += end;
        version++;
      }
    },
  };
}
