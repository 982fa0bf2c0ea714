/** Whether this machine can use a device: found out by using it. */
import type { Device, OnnxGraph } from '../graph/onnx/model.ts';
import { encodeModel } from '../graph/onnx/writer.ts';
import { dataOf, float32 } from '../graph/tensor.ts';
import { openSession } from './engine.ts';

const probes = new Map<Device, Promise<boolean>>();

/**
 * Whether graphs run on a device here: opens a session with one op and runs it. Caches the answer for the process's
 * lifetime. `webgpu` needs a Vulkan, Metal or Direct3D driver; a software one such as Mesa's lavapipe will do.
 * @example
 * ```ts
 * if (await isDeviceAvailable('webgpu')) console.log('a GPU');
 * ```
 */
export function isDeviceAvailable(device: Device): Promise<boolean> {
  const known = probes.get(device);
  if (known !== undefined) return known;
  const probe = tryDevice(device);
  probes.set(device, probe);
  return probe;
}

async function tryDevice(device: Device): Promise<boolean> {
  try {
    const session = await openSession({ name: probeGraph.name, ...encodeModel(probeGraph) }, { device });
    const { y } = await session.run({ x: float32([2], [-1, 1]) }, ['y']);
    await session.dispose();
    const [negative, positive] = dataOf(y, 'float32');
    return negative === 0 && positive === 1;
  } catch {
    return false;
  }
}

const probeGraph: OnnxGraph = {
  name: 'device probe',
  inputs: [{ name: 'x', dtype: 'float32', shape: [2] }],
  outputs: [{ name: 'y', dtype: 'float32', shape: [2] }],
  initializers: [],
  nodes: [{ opType: 'Relu', domain: '', inputs: ['x'], outputs: ['y'], attributes: {} }],
};
