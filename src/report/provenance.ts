/** Where numbers come from: versions of the software, the machine, the commit. Every run record carries it. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { internalError } from '../errors.ts';
import { formatBytes } from './quantities.ts';
import { whole } from '../files/schema-values.ts';

export const softwareSchema = z.object({ linnet: z.string(), node: z.string(), onnxruntime: z.string() });
export const hardwareSchema = z.object({
  cpu: z.string(),
  /** Cores this process may use; containers often have fewer than the machine. */
  cores: whole(1),
  memoryBytes: whole(1),
  os: z.string(),
  architecture: z.string(),
});

type Software = z.infer<typeof softwareSchema>;
type Hardware = z.infer<typeof hardwareSchema>;

/** The most memory that this process has held so far, in bytes. */
export function peakMemoryBytes(): number {
  return 1024 * process.resourceUsage().maxRSS;
}

/** Folder of this package: two levels up from src/report and from dist/report alike. */
const packageRoot = (): string => fileURLToPath(new URL('../..', import.meta.url));

function versionIn(manifestPath: string): string {
  const manifest = z.object({ version: z.string() }).safeParse(JSON.parse(readFileSync(manifestPath, 'utf8')));
  if (!manifest.success) throw internalError(`${manifestPath} names no version`);
  return manifest.data.version;
}

/** Versions of this package, of Node and of ONNX Runtime. */
export function describeSoftware(): Software {
  const require = createRequire(import.meta.url);
  return {
    linnet: versionIn(fileURLToPath(new URL('../../package.json', import.meta.url))),
    node: process.versions.node,
    onnxruntime: versionIn(require.resolve('onnxruntime-node/package.json')),
  };
}

/** The machine this process runs on. */
export function describeHardware(): Hardware {
  return {
    // Some containers list no processors at all.
    cpu: cpus().at(0)?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    os: `${type()} ${release()}`,
    architecture: arch(),
  };
}

/** Machine and software, as reports list them. */
export function provenanceFacts(): (readonly [name: string, value: string])[] {
  const { cpu, cores, memoryBytes, os, architecture } = describeHardware();
  const { linnet, node, onnxruntime } = describeSoftware();
  return [
    ['machine', `${cpu}, ${cores} cores, ${formatBytes(memoryBytes)}, ${os} ${architecture}`],
    ['software', `linnet ${linnet}, Node ${node}, ONNX Runtime ${onnxruntime}`],
  ];
}

/**
 * The commit of the checkout this package runs from, with `-dirty` if tracked files differ from it. Null if the
 * package is installed without its history, or git is not there.
 */
export async function describeCommit(root: string = packageRoot()): Promise<string | null> {
  // Without this check git would find, and name, the commit of a project that has this one in its node_modules.
  if (!existsSync(join(root, '.git'))) return null;
  const git = async (...parameters: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)('git', ['-C', root, ...parameters], { timeout: 10_000 });
    return stdout.trim();
  };
  try {
    const commit = await git('rev-parse', 'HEAD');
    const changes = await git('status', '--porcelain', '--untracked-files=no');
    return changes === '' ? commit : `${commit}-dirty`;
  } catch {
    return null;
  }
}
