/** Linnet, measured through its command line like the other subjects. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Measurement, MeasurementOptions } from './measurement.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const command = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Runs a command to its end and returns its output. */
export function run(program: string, parameters: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    const parts: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => parts.push(part));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(Buffer.concat(parts).toString('utf8'));
      else reject(new Error(`${program} ${parameters.join(' ')} ended with ${signal ?? code}`));
    });
  });
}

/** Runs a TypeScript program with this project's loader. */
export function runTypeScript(script: string, parameters: readonly string[]): Promise<string> {
  return run(process.execPath, ['--import', 'tsx', script, ...parameters]);
}

export function linnet(...parameters: string[]): Promise<string> {
  return runTypeScript(command, parameters);
}

interface Rows {
  readonly rows: readonly { subject?: string; context: number; tokensPerSecond: number; peakMemoryBytes?: number }[];
}

/**
 * Measures an exported model or a GGUF.
 * @param subject a subject of `bench decode`. Default: the first, the unchanged model
 */
export async function measureLinnet(
  name: string,
  options: MeasurementOptions,
  subject = 'as it is',
): Promise<Measurement> {
  const { model, contexts, prompts, threads, steps } = options;
  const measure = async (what: string, list: readonly number[], ...more: string[]): Promise<Rows> => {
    if (list.length === 0) return { rows: [] };
    const listed = list.join(',');
    const shared = ['--threads', String(threads), '--json'];
    return JSON.parse(await linnet('bench', what, model, '--context', listed, ...more, ...shared)) as Rows;
  };
  const decode = await measure('decode', contexts, '--steps', String(steps));
  const prefill = await measure('prefill', prompts, '--runs', '1');
  const speeds = ({ rows }: Rows): Record<string, number> =>
    Object.fromEntries(
      rows
        .filter((row) => (row.subject ?? subject) === subject)
        .map(({ context, tokensPerSecond }) => [context, tokensPerSecond]),
    );
  const peaks = [...decode.rows, ...prefill.rows].map(({ peakMemoryBytes }) => peakMemoryBytes ?? 0);
  return {
    engine: name,
    notes: `${threads} threads`,
    decode: speeds(decode),
    prefill: speeds(prefill),
    peakMemoryBytes: Math.max(0, ...peaks),
  };
}
