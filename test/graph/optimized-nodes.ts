/** What the engine's optimiser makes of a graph; the engine hands the result over as a file. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import type { Graph } from '../../src/graph/graph.ts';
import { lowerGraph } from '../../src/graph/onnx/lowering.ts';
import type { Device } from '../../src/graph/onnx/model.ts';
import { ModelProtoSchema } from '../../src/graph/onnx/onnx_pb.ts';
import { encodeModel, loadDeferred, separateParts } from '../../src/graph/onnx/writer.ts';
import { openSession } from '../../src/runtime/engine.ts';
import { scratchFolder } from '../scratch-folder.ts';

/**
 * How many nodes of each kind are left after the engine has fused and folded, by op type.
 *
 * @throws LinnetError `RUNTIME` if the engine refuses the graph.
 */
export async function countOptimizedNodes(graph: Graph, device: Device = 'cpu'): Promise<ReadonlyMap<string, number>> {
  const folder = await scratchFolder();
  const optimizedModelPath = join(folder, 'model.onnx');
  const lowered = await loadDeferred(lowerGraph(graph, device));
  const { bytes, external } = encodeModel(lowered, { placement: separateParts });
  const session = await openSession({ name: graph.name, bytes, external }, { device, optimizedModelPath });
  await session.dispose();
  const { graph: optimized } = fromBinary(ModelProtoSchema, await readFile(optimizedModelPath));
  const counts = new Map<string, number>();
  for (const { opType } of optimized?.node ?? []) counts.set(opType, (counts.get(opType) ?? 0) + 1);
  return counts;
}
