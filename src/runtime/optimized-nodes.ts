/** What the engine's optimiser makes of a graph, for measurements. Node only: the engine hands the result over as a file. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import type { Graph } from '../graph/graph.ts';
import { lowerGraph } from '../graph/onnx/lowering.ts';
import type { Device } from '../graph/onnx/model.ts';
import { ModelProtoSchema } from '../graph/onnx/onnx_pb.ts';
import { encodeModel, loadDeferred, separateParts } from '../graph/onnx/writer.ts';
import { openSession } from './engine.ts';

/**
 * How many nodes of each kind are left after the engine has fused and folded, by op type.
 *
 * @throws LinnetError `RUNTIME` if the engine refuses the graph.
 */
export async function countOptimizedNodes(graph: Graph, device: Device = 'cpu'): Promise<ReadonlyMap<string, number>> {
  const folder = await mkdtemp(join(tmpdir(), 'linnet-optimized-'));
  try {
    const optimizedModelPath = join(folder, 'model.onnx');
    const lowered = await loadDeferred(lowerGraph(graph, device));
    const { bytes, external } = encodeModel(lowered, { placement: separateParts });
    const session = await openSession({ name: graph.name, bytes, external }, { device, optimizedModelPath });
    await session.dispose();
    const { graph: optimized } = fromBinary(ModelProtoSchema, await readFile(optimizedModelPath));
    const counts = new Map<string, number>();
    for (const { opType } of optimized?.node ?? []) counts.set(opType, (counts.get(opType) ?? 0) + 1);
    return counts;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
