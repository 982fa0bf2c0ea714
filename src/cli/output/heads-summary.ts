/** Summary of the Medusa heads of a folder, without running them. */
import { describeMedusaHeads, hasMedusaHeads } from '../../checkpoint/medusa-files.ts';
import type { MedusaTree } from '../../checkpoint/medusa-trees.ts';
import type { ExportManifest } from '../../export/manifest.ts';
import { formatBytes, formatCount } from '../../report/quantities.ts';

/** Heads of a folder of either kind. */
export interface HeadsSummary {
  readonly heads: number;
  readonly layers: number;
  /** Of an exported folder: bytes of their weights. */
  readonly weightBytes?: number;
  readonly tree?: MedusaTree;
}

/**
 * The heads next to a model; undefined where there are none. Whether they are the model's own is not looked at.
 * @throws LinnetError as `describeMedusaHeads`
 */
export async function headsBeside(
  folder: string,
  exported: ExportManifest | undefined,
): Promise<HeadsSummary | undefined> {
  if (exported !== undefined) return exported.medusa;
  if (!(await hasMedusaHeads(folder))) return undefined;
  const { config, tree } = await describeMedusaHeads(folder);
  return { ...config, tree };
}

/** `4 heads of 1 block, 1.2 MiB, tree of 10 nodes (observed)`. */
export function describeHeads({ heads, layers, weightBytes, tree }: HeadsSummary): string {
  const count = (number: number, one: string): string => `${formatCount(number)} ${number === 1 ? one : `${one}s`}`;
  return [
    `${count(heads, 'head')} of ${count(layers, 'block')}`,
    ...(weightBytes === undefined ? [] : [formatBytes(weightBytes)]),
    // Paths have no root, which is a node too.
    tree === undefined ? 'no tree of their own' : `tree of ${count(tree.paths.length + 1, 'node')} (${tree.method})`,
  ].join(', ');
}

export function headsJson(summary: HeadsSummary | undefined): Readonly<Record<string, unknown>> | null {
  if (summary === undefined) return null;
  const { heads, layers, weightBytes, tree } = summary;
  const described = tree === undefined ? null : { method: tree.method, nodes: tree.paths.length + 1 };
  return { heads, layers, weightBytes, tree: described };
}
