/** What the processor of this machine cannot do, for tests whose numbers depend on it. */
import { existsSync, readFileSync } from 'node:fs';

const cpuInfo = '/proc/cpuinfo';

/**
 * Why products of 8-bit numbers are not the same in Node and in a browser here: ONNX Runtime adds pairs of them in 16 bits on
 * x86 processors without VNNI, where large ones saturate, and WebAssembly does not. Undefined where they are the same.
 */
export const saturatingProducts =
  process.arch === 'x64' && existsSync(cpuInfo) && !readFileSync(cpuInfo, 'utf8').includes('vnni')
    ? 'this processor has no VNNI: 8-bit products saturate'
    : undefined;
